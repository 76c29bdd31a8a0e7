"""`devskyy bench`: how well what was learned does on recorded data. One module for each command."""

import typer

from devskyy.cli.bench import complexity, judge

app = typer.Typer(help="Measure what was learned on recorded data.", no_args_is_help=True)
app.command("complexity")(complexity.complexity)
app.command("judge")(judge.judge)
