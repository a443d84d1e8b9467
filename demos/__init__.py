"""Pages that show the methods at work: one module a tab, and ``app`` that joins them.

``mmspec demo`` serves them all; ``python -m demos.caption`` serves one. Gradio is needed
(``pip install "mmspec[demo]"``).

How a tab is written. A module has ``TITLE``, ``FAMILY`` and ``build_demo(settings, machine)``, both
arguments optional, that returns ``gr.Blocks``; a row of ``demos.app.TABS`` joins it. In it:

- :class:`demos.settings.Lazy` holds the model, loaded by the first run on the machine's thread.
- :func:`demos.page.notice`, :func:`demos.page.run_buttons` and :func:`demos.page.connect` make the
  place for sentences and the buttons that start and stop a run.
- The handler, a function or a method (Gradio does not see the annotations of a partial), takes the
  inputs and a ``gr.Request``, checks what is cheap to check, and yields
  dictionaries of outputs by component while it follows
  ``machine.watch(session(request), work)``. It is wrapped by :func:`demos.errors.guarded`, which
  turns whatever is raised, and being stopped, into a sentence. In between come
  :class:`demos.serving.Waiting` items, to be shown with :func:`demos.errors.waiting_html`.
- ``work(report)`` does everything on the model, and reports what the page should show. ``report``
  raises ``Stopped`` (a ``KeyboardInterrupt``) when the viewer has stopped or left, so calling it
  once a round is what makes a run stoppable. Only cheap things belong there: pages are drawn by the
  handler, off the machine's thread and outside every clock.
- Whatever text did not come from this package goes through :func:`demos.errors.escape`.
- Styles are in ``style.css``; classes begin with ``mm-``.
"""
