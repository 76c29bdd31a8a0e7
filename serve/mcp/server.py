"""The tools and the tasks' stories as an MCP server, for any transport. Knows the protocol, and no platform.

The SDK takes 0.4 s to import, so whoever starts without need of it imports this module later.
"""

import re
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from schemas.errors import DevSkyyError, NotFound
from schemas.task import TaskSummary
from serve.mcp.platform import Platform
from serve.mcp.story import story
from serve.mcp.told import Answer, in_words
from serve.mcp.tools import TOOLS, Report, Tool, arguments, problem_of

Context = ServerRequestContext[Any, Any]
PlatformOf = Callable[[Context], Platform]

INSTRUCTIONS = """DevSkyy runs self-contained work on cheaper models and agents, with measured quality and an honest
receipt. Use `delegate` where a task can be described completely in its prompt and inputs, and keep your own tokens for
what needs your judgement. Check an answer before you build on it. A task that is still running is fetched with
`result`."""

URI = "devskyy://tasks/{task_id}"
_URI = re.compile(r"devskyy://tasks/([A-Za-z0-9_-]{1,128})")
MARKDOWN = "text/markdown"
RECENT = 20
"""Tasks that are listed as resources; any other can be read by its id."""


def make_server(platform_of: PlatformOf, *, reads_files: bool) -> Server[Any]:
    """
    Args:
        platform_of: the platform as the caller of a request sees it.
        reads_files: whether `delegate` takes files of the caller's machine.
    """

    async def list_tools(_: Context, _page: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        if (tool := TOOLS.get(params.name)) is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name!r}; there are {', '.join(TOOLS)}")

        async def report(number: int, line: str) -> None:
            await ctx.session.report_progress(number, message=line)

        return await _called(tool, platform_of(ctx), params.arguments or {}, report)

    async def list_resources(ctx: Context, _page: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        try:
            found = await platform_of(ctx).tasks(RECENT)
        except DevSkyyError as error:
            raise _failed(error) from None
        return types.ListResourcesResult(resources=[_resource(task) for task in found.tasks])

    async def list_templates(
        _: Context, _page: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=[TEMPLATE])

    async def read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        if (named := _URI.fullmatch(params.uri)) is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no resource {params.uri!r}; tasks are at {URI}")
        try:
            told = await _told(platform_of(ctx), named[1])
        except DevSkyyError as error:
            raise _failed(error) from None
        contents = types.TextResourceContents(uri=params.uri, mime_type=MARKDOWN, text=told)
        return types.ReadResourceResult(contents=[contents])

    tools = [_described(tool, reads_files) for tool in TOOLS.values()]
    return Server(
        "devskyy",
        title="DevSkyy",
        version=version("devskyy"),
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


async def _called(tool: Tool[Any], platform: Platform, given: dict[str, Any], report: Report) -> types.CallToolResult:
    """What a tool came to. What goes wrong is an answer too, with what to do about it: the assistant reads it."""
    try:
        told = await tool.call(platform, arguments(tool, given), report)
    except (DevSkyyError, ValidationError) as error:
        return _refused(error)
    except Exception as error:
        import structlog  # 0.1 s

        structlog.get_logger().error("a tool failed", tool=tool.name, exc_info=error)
        return _refused(DevSkyyError(f"the tool {tool.name!r} failed; see the log of whoever serves it"))
    failed = isinstance(told, Answer) and told.status == "failed"
    return types.CallToolResult(
        content=[_text(told.words)], structured_content=told.model_dump(mode="json"), is_error=failed
    )


def _refused(error: DevSkyyError | ValidationError) -> types.CallToolResult:
    return types.CallToolResult(content=[_text(in_words(problem_of(error)))], is_error=True)


async def _told(platform: Platform, task_id: str) -> str:
    task = await platform.task(task_id)
    try:
        return story(task, await platform.history(task_id))
    except NotFound:  # its events have grown too old
        return story(task, ())


def _described(tool: Tool[Any], reads_files: bool) -> types.Tool:
    takes = _plain(tool.takes.model_json_schema())
    description = tool.description
    if not reads_files and takes["properties"].pop("files", None) is not None:
        description = description.replace("Give `files` rather than reading them yourself. ", "")
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=description,
        input_schema=takes,
        output_schema=_plain(tool.gives.model_json_schema(mode="serialization")),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.looks_only,
            destructive_hint=tool.name == "cancel",
            idempotent_hint=tool.name != "delegate",
            open_world_hint=tool.name == "delegate",
        ),
    )


def _plain(schema: Any) -> Any:
    """A schema without the titles that pydantic makes of names: every client reads it, and some pay for it."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _plain(each) for name, each in schema.items() if not (name == "title" and isinstance(each, str))}


TEMPLATE = types.ResourceTemplate(
    name="task",
    title="The story of a task",
    uri_template=URI,
    description="What was asked, what each agent of the team said, what was decided and why, and how it ended.",
    mime_type=MARKDOWN,
)


def _resource(task: TaskSummary) -> types.Resource:
    first = " ".join(task.prompt.split())[:80]
    uri = URI.format(task_id=task.task_id)
    return types.Resource(name=task.task_id, title=f"{task.status}: {first}", uri=uri, mime_type=MARKDOWN)


def _text(words: str) -> types.TextContent:
    return types.TextContent(text=words)


def _failed(error: DevSkyyError) -> MCPError:
    """A resource that cannot be read."""
    code = types.INVALID_PARAMS if error.http_status == 404 else types.INTERNAL_ERROR
    return MCPError(code, in_words(problem_of(error)))
