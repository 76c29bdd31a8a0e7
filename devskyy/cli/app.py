"""`devskyy`: the commands put together, and every error turned into words and an exit code."""

import contextlib
import os
import sys
from collections.abc import Sequence

import typer

from devskyy.cli import (
    audit,
    backup,
    bench,
    budgets,
    classify,
    costs,
    doctor,
    erase,
    keys,
    mcp,
    nats_config,
    nats_users,
    platform,
    qualities,
    run,
    services,
    tasks,
    tokens,
    webhooks,
    workflows,
)
from devskyy.cli.codes import ExitCode, of_error
from schemas.errors import Cancelled, DevSkyyError

_TYPERS_CODE_FOR_CTRL_C = 130

app = typer.Typer(
    name="devskyy",
    help="Gives every task the cheapest team of AI agents that clears its quality bar, with an honest receipt.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("up")(platform.up)
app.command("down")(platform.down)
app.command("status")(platform.status)
app.command("run")(run.run)
app.add_typer(tasks.app, name="tasks")
app.add_typer(workflows.app, name="workflows")
app.command("agents")(platform.agents)
app.add_typer(services.app, name="services")
app.command("costs")(costs.costs)
app.command("budgets")(budgets.budgets)
app.command("quality")(qualities.quality)
app.add_typer(keys.app, name="keys")
app.add_typer(tokens.app, name="token")
app.add_typer(webhooks.app, name="webhooks")
app.command("erase")(erase.erase)
app.command("audit")(audit.audit)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("mcp")(mcp.mcp)
app.command("nats-url")(platform.nats_url)
app.add_typer(nats_users.app, name="nats-users")
app.command("nats-config")(nats_config.nats_config)
app.command("classify")(classify.classify)
app.add_typer(bench.app, name="bench")
app.command("doctor")(doctor.doctor)
app.command("asyncapi")(platform.asyncapi)
app.command("version")(platform.version)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words[: words.index("--") if "--" in words else None]
    try:
        code = _run(words, as_json)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    return code


def _run(words: list[str], as_json: bool) -> int:
    try:
        code = app(words, prog_name="devskyy", standalone_mode=False)
        if code == _TYPERS_CODE_FOR_CTRL_C:
            raise Cancelled("the command", "Ctrl-C")
        return code if isinstance(code, int) else ExitCode.DONE
    except typer.TyperException as error:
        return _usage(error, as_json)
    except DevSkyyError as error:
        from devskyy.cli import render

        render.failure(error, as_json)
        return of_error(error)
    except Exception as error:  # a mistake of ours; a program that asked for JSON still gets its document
        if not as_json:
            raise
        import traceback

        from devskyy.cli import render

        traceback.print_exc()
        render.failure(DevSkyyError(f"{type(error).__name__}: {error}"), as_json)
        return ExitCode.FAILED


def _usage(error: typer.TyperException, as_json: bool) -> int:
    show = getattr(error, "show", None)
    error.message = error.message.removeprefix("Value error, ")
    if as_json:
        from devskyy.cli import render

        render.usage_problem(error.format_message())
    elif show is not None:
        show()
    else:
        print(f"Error: {error.format_message()}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
