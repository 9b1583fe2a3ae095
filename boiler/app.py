"""The browser: ``streamlit run boiler/app.py`` (or ``boiler browse MODEL_DIR``).

    streamlit run boiler/app.py -- MODEL_DIR --wav_dir ~/sounds

The model directory and the folder of sounds are given as arguments, by ``BOILER_MODEL_DIR`` and ``BOILER_WAV_DIR``, or
chosen in the sidebar. One process and one port: the pages (``boiler/browser``), and beside them the routes that their
sounds are played from, by range, so that nothing of a sound is copied into the memory of a session.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE) in sys.path:
    # Streamlit puts the folder of the script first, where `errors` or `audio` would be ours without their package.
    sys.path[sys.path.index(str(HERE))] = str(HERE.parent)

import streamlit as st  # noqa: E402

from boiler import arguments  # noqa: E402
from boiler.browser import indexes, main, options  # noqa: E402

if Path(sys.argv[0]).resolve() == Path(__file__).resolve():
    parser = arguments.Parser(prog="streamlit run boiler/app.py --", description=__doc__)
    options.add_arguments(parser)
    options.give(parser.parse_args())

app = st.App(HERE / "browser" / "main.py", routes=indexes.routes(), on_script_error=main.unforeseen)
