#!/usr/bin/env bash
# azure-batch 15.1.0: copy.copy of a model is another name for the same fields: an id set on the copy is the original's too. Tasks
# made from a template, one copy for each frame, all end up with the last id and command line; a list of them is one task. In 14.2.0
# a copy has fields of its own. copy.deepcopy parts them in both. Nothing is raised. Needs Python 3.11.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >tasks.py <<'P'
import copy, importlib.metadata
from azure.batch import models
kind = getattr(models, "BatchTaskCreateOptions", None) or models.TaskAddParameter
def made(by):
    template, tasks = kind(id="template", command_line="render"), []
    for frame in (1, 2, 3):
        task = by(template)
        task.id, task.command_line = f"frame-{frame}", f"render {frame}"
        tasks.append(task)
    return template.id, *(f"{task.id}: {task.command_line}" for task in tasks)
for by in (copy.copy, copy.deepcopy):
    print(importlib.metadata.version("azure-batch"), by.__name__, "; ".join(made(by)))
P
seen=$(for version in 14.2.0 15.1.0; do
  python3.11 -m venv "v$version"
  "v$version/bin/pip" -q install --disable-pip-version-check "azure-batch==$version" >/dev/null 2>&1
  "v$version/bin/python" tasks.py
done)
echo "$seen"
[ "$seen" = "14.2.0 copy template; frame-1: render 1; frame-2: render 2; frame-3: render 3
14.2.0 deepcopy template; frame-1: render 1; frame-2: render 2; frame-3: render 3
15.1.0 copy frame-3; frame-3: render 3; frame-3: render 3; frame-3: render 3
15.1.0 deepcopy template; frame-1: render 1; frame-2: render 2; frame-3: render 3" ]
