"""The study as tables: languages, kinds of task, tasks, models, meshes."""
