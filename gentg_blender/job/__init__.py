"""The backend as a process: client, queue, set-up. May import: the standard library and `..core`; never bpy."""
