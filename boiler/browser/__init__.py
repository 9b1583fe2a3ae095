"""The browser: Streamlit pages to search a collection by sound. `boiler/app.py` serves them.

======================  ===============================================================================================
``main``                the script that Streamlit runs at every click: index, page, errors
``options``             command-line arguments and environment variables
``indexes``             open model directories, and the routes that send their sounds
``upload_store``        uploaded sounds and pictures
``decoders``            decoding in worker processes
``url_state``           the state of a page, kept in the URL
``search_page``         search: ``search_bar``, ``upload_field``, ``item_views`` (no query), ``results_view`` (query)
``map_page``            the collection in two dimensions; ``map_data`` sends its points
``path_page``           a sequence of sounds from one to another
``tray_page``           collected sounds and their export; ``tray`` keeps them, ``zip_stream`` sends their files
``collection_page``     what is in the collection, unreadable files, duplicates
``evaluation_page``     metrics and training curves
``results``             search results for a state of the page
``filter_form``         the "Refine" form
``explanation``         why a sound is a result
``feedback``            likes and dislikes
``cards``               sounds as cards that draw and play them
``component``           Streamlit components made of the JavaScript and CSS in ``static/``
``actions``             what a click on a card does
``widgets``             widgets that several pages share
``background``          long work with a progress bar and a Stop button
``folder_tree``         the folders of a collection as a tree
``formatting``          durations, sizes, counts; escaping of text from outside
======================  ===============================================================================================

The state of a visitor is kept in the URL (what is searched) and in the session (the tray), nowhere else.
"""
