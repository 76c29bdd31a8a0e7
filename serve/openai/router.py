"""Where all doors of OpenAI's kind are entered."""

from fastapi import APIRouter

router = APIRouter(prefix="/v1", tags=["openai"])
