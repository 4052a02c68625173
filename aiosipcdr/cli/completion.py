"""`aiosipcdr --install-completion`: completion of commands and options in a shell."""

from pathlib import Path
from typing import Literal

from cyclopts.completion.detect import ShellDetectionError, detect_shell

from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.exit_codes import CommandError, Exit
from aiosipcdr.cli.output import print_line

__all__ = ["install_completion"]

Shell = Literal["bash", "zsh", "fish", "powershell"]
_RESTART: dict[Shell, str] = {
    "bash": "~/.bashrc loads it; restart the shell, or run: source ~/.bashrc",
    "zsh": "~/.zshrc loads it if it runs compinit; restart the shell, or run: exec zsh",
    "fish": "fish loads it; restart the shell",
    "powershell": "the profile loads it; restart PowerShell",
}


def install_completion(*, shell: Shell | None = None) -> int:
    """Install shell completion for commands and options.

    Writes a script to your home directory and adds a line that loads it to the shell's startup file.

    Args:
        shell: The shell; by default the one that runs this command.
    """
    from aiosipcdr.cli.app import app

    try:
        chosen = shell or detect_shell()
    except ShellDetectionError:
        msg = "cannot detect the shell; add --shell bash, zsh, fish or powershell"
        raise UsageError(msg) from None
    try:
        script = app.install_completion(shell=chosen)
    except OSError as error:
        msg = f"{error.filename or Path.home()} cannot be written: {error.strerror or error}; change its permissions"
        raise CommandError(msg) from None
    print_line(f"completion for {chosen} is installed in {script}; {_RESTART[chosen]}")
    return Exit.DONE
