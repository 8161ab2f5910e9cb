"""``python -m secure_asgi.cli``, where the command is not on the PATH."""

from . import main

raise SystemExit(main())
