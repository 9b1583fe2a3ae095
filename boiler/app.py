"""The browser: ``streamlit run boiler/app.py`` (or ``boiler browse MODEL_DIR``).

    streamlit run boiler/app.py -- MODEL_DIR --wav_dir ~/sounds

The model directory and the folder of sounds are arguments, or the variables ``BOILER_MODEL_DIR`` and
``BOILER_WAV_DIR``; without a model directory one is chosen in the sidebar. One process and one port serve the pages
(``boiler/browser``) and the routes of their sounds, with range requests, so that no session holds a sound in memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE) in sys.path:
    # Streamlit puts the folder of the script first on the path, where `import audio` would find a part of this package.
    sys.path[sys.path.index(str(HERE))] = str(HERE.parent)

import streamlit as st  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.middleware.trustedhost import TrustedHostMiddleware  # noqa: E402

from boiler import arguments  # noqa: E402
from boiler.browser import indexes, main, options  # noqa: E402

if Path(sys.argv[0]).resolve() == Path(__file__).resolve():
    parser = arguments.Parser(prog="streamlit run boiler/app.py --", description=__doc__)
    options.add_arguments(parser)
    options.set_environment(parser.parse_args())

hosts = options.allowed_hosts()
app = st.App(
    HERE / "browser" / "main.py",
    routes=indexes.routes(str(st.get_option("server.baseUrlPath") or "")),
    middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)] if hosts else [],
    on_script_error=main.show_unexpected_error,
)
