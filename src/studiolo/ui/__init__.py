"""The pages in the browser: a client of the SDK, made with NiceGUI (extra ``ui``). A server starts them at ``/ui``."""
