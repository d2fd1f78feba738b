"""The command ``demul``. What is slow to import is imported by the command that needs it."""

import typer

from demul_mm.app.commands import libraries, moments, servers
from demul_mm.app.commands.alerts import alerts
from demul_mm.cli.entry import run_tool

app = typer.Typer(
    help='Search your own videos by a sentence.',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=dict(help_option_names=['-h', '--help']),
)
for command in (
    libraries.index,
    moments.search,
    moments.ask,
    moments.cut,
    moments.export,
    servers.serve,
    servers.mcp,
    libraries.info,
    libraries.encoders,
    libraries.doctor,
):
    app.command()(command)
app.add_typer(alerts, name='alert')


def main() -> None:
    """The entry point."""
    run_tool(app)
