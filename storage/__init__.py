"""What is kept in SQL, on SQLite or PostgreSQL: the tables, their migrations, and one repository per table."""

from storage.audit import AuditLog
from storage.calls import CallLedger
from storage.database import Database
from storage.deliveries import DeliveryRepository
from storage.erasure import Erasure
from storage.keys import KeptKey, KeptKeys, KeyRepository
from storage.qualities import Measured, QualityHistory
from storage.tasks import TaskRepository
from storage.webhooks import WebhookRepository
from storage.workflows import WorkflowRepository

__all__ = [
    "AuditLog",
    "CallLedger",
    "Database",
    "DeliveryRepository",
    "Erasure",
    "KeptKey",
    "KeptKeys",
    "KeyRepository",
    "Measured",
    "QualityHistory",
    "TaskRepository",
    "WebhookRepository",
    "WorkflowRepository",
]
