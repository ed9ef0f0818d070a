"""The ``modicum`` command: turns errors into one line and an exit code."""

import os
import sys
from typing import Any


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 a bug, 2 bad input, 3 some images broken, 130 stopped."""
    debug = _take_flag("--debug") or os.environ.get("MODICUM_DEBUG", "") not in {"", "0"}
    quiet = _take_flag("--quiet")
    from modicum.errors import ModicumError
    from modicum.output_paths import system_error
    from modicum.progress import set_quiet

    set_quiet(quiet)
    try:
        from modicum.cli import app

        code = app(prog_name="modicum", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except ModicumError as error:
        if debug:
            raise
        _complain(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _complain("stopped")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's errors of usage, whose base class it does not export
            _complain_of_usage(error)
            sys.exit(2)
        if debug:
            raise
        if (user_error := system_error(error)) is not None:
            _complain(f"error: {user_error}")
            sys.exit(user_error.exit_code)
        _complain(f"internal error: {type(error).__name__}: {error} (run again with --debug and report it)")
        sys.exit(1)


def _take_flag(flag: str) -> bool:
    """Removes a flag from anywhere on the command line; returns whether it was there."""
    present = flag in sys.argv[1:]
    sys.argv[1:] = [word for word in sys.argv[1:] if word != flag]
    return present


def _complain_of_usage(error: Any) -> None:
    """One line for arguments that do not fit, as for any other bad input; help where there are none at all."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    message = error.format_message().rstrip(".")
    command = error.ctx.command_path if getattr(error, "ctx", None) else "modicum"
    _complain(f"error: {message[:1].lower()}{message[1:]}; `{command} --help` shows what it takes")


def _complain(message: str) -> None:
    sys.stderr.write(f"modicum: {' '.join(message.split())}\n")


if __name__ == "__main__":
    main()
