"""The script in each export: it uses the folder, and needs nothing of this package."""

from __future__ import annotations


def _one(name: str, among: str) -> str:
    """The lines that take one id from the command line, or the first where none is named."""
    return f"""\
def refuse(why):
    print(why, file=sys.stderr)
    sys.exit(2)
if len(sys.argv) > 2:
    refuse("usage: python use.py [{name.upper()}_ID] (one {name} at a time)")
wanted = (sys.argv[1:] or {among})[0]
if wanted not in {among}:
    refuse(f"{{wanted!r}} is no {name} of this export")
if len(sys.argv) == 1:
    print(f"no {name} was named, so the first: {{wanted!r}}", file=sys.stderr)
{name} = {among}.index(wanted)
"""


_LOADING = (
    """\
here = Path(__file__).parent
words = lambda name: json.loads((here / f"{name}.json").read_text("utf-8"))
numbers = lambda name: np.load(here / f"{name}.npy")
about, ids, users = words("export"), words("item_ids"), words("user_ids")
"""
    + _one("user", "users")
    + """\
mine = numbers("interests")[numbers("interest_users") == user]
had = numbers("history")[slice(*numbers("history_offsets")[user : user + 2])]
read = had[-about["max_length"] :] if about["max_length"] else had
"""
)

NUMPY = f'''\
"""Ten recommendations for a user: python use.py [USER_ID]. It needs NumPy only."""
import json, sys
from pathlib import Path
import numpy as np

{_LOADING}
scores = (numbers("items") @ mine.T).max(axis=1)  # an item is as good as its best interest
scores[np.unique(read)] += about["gain"]
if about["seen"] == "leave-out":
    scores[had] = -np.inf
for item in [i for i in np.argsort(-scores)[:10] if np.isfinite(scores[i])]:
    print(f"{{ids[item]}}\\t{{scores[item]:.5f}}")
'''

FAISS = f'''\
"""Ten recommendations for a user: python use.py [USER_ID]. It needs faiss and NumPy."""
import json, sys
from pathlib import Path
import faiss, numpy as np

{_LOADING}
index = faiss.read_index(str(here / "items.faiss"))
# Items of the history may move, so more are looked for: the others keep their order.
_, found = index.search(mine, min(10 + len(set(had.tolist())), index.ntotal))
candidates = np.unique(np.concatenate([found.ravel(), had]))
vectors = np.stack([index.reconstruct(int(item)) for item in candidates])
scores = (vectors @ mine.T).max(axis=1) + about["gain"] * np.isin(candidates, read)
if about["seen"] == "leave-out":
    scores[np.isin(candidates, had)] = -np.inf
for place in [i for i in np.argsort(-scores)[:10] if np.isfinite(scores[i])]:
    print(f"{{ids[candidates[place]]}}\\t{{scores[place]:.5f}}")
'''

ONNX = '''\
"""Ten recommendations for a history: python use.py ITEM_ID ... (onnxruntime and NumPy)."""
import json, sys
from pathlib import Path
import numpy as np, onnxruntime

here = Path(__file__).parent
about, ids = (json.loads((here / f"{f}.json").read_text("utf-8")) for f in ("export", "item_ids"))
wanted = sys.argv[1:] or ids[:1]
for unknown in sorted(set(wanted) - set(ids)):
    print(f"{unknown!r} is no item of this export", file=sys.stderr)
    sys.exit(2)
if len(sys.argv) == 1:
    print(f"no item was named, so the first: {wanted[0]!r}", file=sys.stderr)
had = np.array([ids.index(item_id) for item_id in wanted])
network = onnxruntime.InferenceSession(str(here / "history.onnx"))
interests, active, _ = network.run(None, {"history": had[np.newaxis]})
scores = (np.load(here / "items.npy") @ interests[0][active[0]].T).max(axis=1)
scores[np.unique(had[-about["max_length"] :])] += about["gain"]
if about["seen"] == "leave-out":
    scores[had] = -np.inf
for item in [i for i in np.argsort(-scores)[:10] if np.isfinite(scores[i])]:
    print(f"{ids[item]}\\t{scores[item]:.5f}")
'''

HUGGINGFACE = (
    '''\
"""Items near an item: python use.py [ITEM_ID]. It needs safetensors and NumPy."""
import json, sys
from pathlib import Path
import numpy as np
from safetensors.numpy import load_file

here = Path(__file__).parent
config, ids = (json.loads((here / f).read_text("utf-8")) for f in ("config.json", "item_ids.json"))
weights, items = load_file(here / "model.safetensors"), load_file(here / "items.safetensors")
print(config["model_type"], "with", sum(w.size for w in weights.values()), "numbers")
'''
    + _one("item", "ids")
    + """\
directions = items["items"] / np.maximum(np.linalg.norm(items["items"], axis=1), 1e-12)[:, None]
near = directions @ directions[item]
for other in [i for i in np.argsort(-near) if i != item][:10]:
    print(f"{ids[other]}\\t{near[other]:.5f}")
"""
)
