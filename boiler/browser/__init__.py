"""The browser: one file per page, and what the pages share. `boiler/app.py` serves them.

======================  ===============================================================================================
``start``               how the browser is told what to open
``script``              what runs at every click: which index, which page, errors as sentences
``ask``                 the page that asks and shows the answers
``tray``                the page of chosen sounds
``upkeep``              the page that looks after the collection
``measures``            the page of what was measured, and of the training
``library``             model directories opened once per process, sounds brought along, where both are heard
``question``            what is asked, read from the address and written to it
``neighbours``          the answers to a question
``wishes``              the fields that say what the answers should be like
``atlas``               the page of the map
``points``              the points of the map, packed for the visitor's browser
``parcel``              the files of the tray as one ZIP, sent while it is made
``paths``               the page of the way between two sounds
``work``                long work: its progress, and how it is stopped
``why``                 the part of the page that explains an answer
``judging``             likes and dislikes, kept and undone
``clicks``              what a click does
``folders``             the folders of a collection as a tree
``cards``               the component that draws, plays and marks sounds; what the visitor sees is in ``static/``
``holdings``            what a collection holds, counted
======================  ===============================================================================================

Nothing here keeps what a visitor does but the address (what is asked) and the session (what is chosen).
"""
