"""Answers as students write them, right and wrong; written before anybody looked at how the checker judges them.

An answer is the body of the exercise's function; without a ``return``, its last statement is the result. A wrong answer
comes with a pattern: words that name the real mistake.
"""

import inspect
import linecache
import math
import textwrap

import numpy as np
import torch
import torch.nn.functional as F

from avid_lab.course.exercises import EXERCISES


def source_of(name, body):
    """The function with this body."""
    body = textwrap.dedent(body).strip()
    if "return" not in body:
        lines = body.splitlines()
        start, end, last = lines[-1].rpartition("; ")
        body = "\n".join([*lines[:-1], f"{start}{end}return {last}"])
    parameters = ", ".join(inspect.signature(EXERCISES[name].reference).parameters)
    return f"def {name}({parameters}):\n{textwrap.indent(body, '    ')}\n"


def written(name, body):
    """The student's function."""
    source, file = source_of(name, body), f"<cell {name} {abs(hash(body))}>"
    linecache.cache[file] = len(source), None, source.splitlines(True), file
    space = {"math": math, "torch": torch, "F": F, "np": np}
    exec(compile(source, file, "exec"), space)
    return space[name]


def odd(name):
    """A right answer whose result is no tensor, where there is one: an array, a number, a list, a named tuple."""
    bodies = RIGHT[name]
    marks = ("namedtuple", "tolist()", ".item()", "np.", "return rows", "return out", "] for ")
    body = next((body for mark in marks for body in bodies if mark in body), bodies[-1])
    return written(name, f"import numpy as np\n{body}")


# Cross-AVID as a student writes it; wrong answers change one piece.
LOOP = (
    "hv, ha = video_head.clone(), audio_head.clone(); V, A = video_memory.clone(), audio_memory.clone(); Z, out = {{}}, []\n"
    "for i, no in zip(batches, negatives):\n"
    "  hv, ha = hv.detach().requires_grad_(), ha.detach().requires_grad_()\n"
    "  v, a = F.normalize(video[i] @ hv, dim=1), F.normalize(audio[i] @ ha, dim=1); loss = 0\n"
    "  for t, q, m in (('v2a', v, A.clone()), ('a2v', a, V.clone())):\n"
    "    p, n = (q * m[i]).sum(1) / temperature, (q[:, None] * m[no]).sum(2) / temperature\n"
    "    {z}\n"
    "    c = n.shape[1] * Z[t]; e = torch.exp\n"
    "    loss = loss - ((e(p) / (e(p) + c)).log() + (c / (e(n) + c)).log().sum(1)).mean() {half}\n"
    "  gv, ga = torch.autograd.grad(loss, (hv, ha)); hv, ha = hv - rate * gv, ha - rate * ga\n"
    "  V[i] = F.normalize(momentum * V[i] + (1 - momentum) * v.detach(), dim=1)\n"
    "  A[i] = F.normalize(momentum * A[i] + (1 - momentum) * a.detach(), dim=1)\n"
    "  out.append(loss.detach())\n"
    "return torch.stack(out), V, A"
)
WHOLE = LOOP.format(z="if t not in Z: Z[t] = n.detach().exp().mean()", half="/ 2")

QUEUE = "key = key.detach(); s = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], 1) / temperature\n"
QUEUE_LOSS = "F.cross_entropy(s, torch.zeros(len(s), dtype=torch.long))"

BLOCKS = (
    "out = []\nfor q in torch.arange(len(video)).split(block):\n"
    "  best, who = torch.empty(len(q), 0), torch.empty(len(q), 0, dtype=torch.long)\n"
    "  for o in torch.arange(len(video)).split(block):\n"
    "    s = torch.minimum(video[q] @ video[o].T, audio[q] @ audio[o].T)\n    {mask}\n"
    "    s, n = {join}, {names}; i = s.argsort(dim=1, descending=True, stable=True)[:, :k]\n"
    "    best, who = s.gather(1, i), n.gather(1, i)\n"
)
RIDGE = (
    "Y = F.one_hot(labels, int(labels.max()) + 1).float()\ndef f(x, y, p, z):\n"
    "  one = lambda t: torch.cat([t, torch.ones(len(t), 1)], 1); X = one(x); I = torch.eye(X.shape[1]); I[-1, -1] = 0\n"
    "  a, b = X.T @ X + p * I, X.T @ y; return one(z) @ torch.linalg.solve(a, b)\n"
)
LOADED = "f = (draws * (pictures.shape[1] - frames + 1)).long(); s = rate // fps\n"
CUT = (
    LOADED
    + "v = torch.stack([pictures[i, a : a + frames] for i, a in zip(index, f)])\n"
    + "a = torch.stack([sounds[i, s * b : s * (b + frames)] for i, b in zip(index, f)])\n"
)
NEWTON = (
    "x = torch.stack([similarity, torch.ones_like(similarity)], 1); c = torch.zeros(2, dtype=x.dtype)\nfor _ in range(steps):\n"
    "  p = torch.sigmoid(x @ c); g = x.T @ (p - same.double()); H = (x * (p * (1 - p))[:, None]).T @ x\n"
    "  c = c - torch.linalg.solve(H, g)\n"
)
LEAKS = (
    "N = len(recordings); first = list(range(N)); links = copies.tolist()\n"
    "links += [(i, j) for i in range(N) for j in range(i) if recordings[i] == recordings[j]]\n"
    "while True:\n  old = list(first)\n  for a, b in links: first[a] = first[b] = min(first[a], first[b])\n"
    "  if first == old: break\n"
)

RIGHT = {
    "log_spectrogram_bins": [
        "p = power[:, 1:].reshape(len(power), -1, 2).mean(-1); x = torch.cat((power[:, :1], p), 1)\n"
        "db = 10 * torch.log10(x.clamp(min=1e-10)); torch.clamp(db, min=float(db.max()) - 100)",
        "a = power.numpy(); x = np.concatenate([a[:, :1], (a[:, 1::2] + a[:, 2::2]) / 2], 1)\n"
        "db = 10 * np.log10(np.maximum(x, 1e-10)); np.maximum(db, db.max() - 100)",
        "x = torch.cat([power[:, :1], F.avg_pool1d(power[:, None, 1:], 2)[:, 0]], 1)\n"
        "db = 10 * x.clamp_min(1e-10).log() / math.log(10); db.maximum(db.max() - 100)",
        "x = torch.empty(len(power), power.shape[1] // 2 + 1); x[:, 0] = power[:, 0]\n"
        "for i in range(1, x.shape[1]): x[:, i] = (power[:, 2 * i - 1] + power[:, 2 * i]) / 2\n"
        "x = x.clamp(min=x.max() * 1e-10); return 10 * torch.log10(x)",
        "x = torch.cat([power[:, 0:1], (power[:, 1::2] + power[:, 2::2]) * 0.5], dim=-1)\n"
        "db = 10 * x.log10(); torch.where(db < db.max() - 100, db.max() - 100, db)",
        "x = torch.cat([power[:, :1], power[:, 1:].unfold(1, 2, 2).mean(-1)], 1)\n"
        "db = 10.0 * (x + 1e-30).log10(); db.clamp(db.amax() - 100)",
    ],
    "load_batch": [
        CUT + "v.permute(0, 4, 1, 2, 3), a[:, None]",
        CUT.replace("draws", "draws.numpy()").replace(".long()", ".astype(int)") + "v.movedim(-1, 1), a.unsqueeze(1)",
        "P = pictures.permute(0, 4, 1, 2, 3); v, a = [], []\nfor i, d in zip(index.tolist(), draws.tolist()):\n"
        "  f = int(d * (P.shape[2] - frames + 1)); t = f / fps; n = round(frames / fps * rate)\n"
        "  v.append(P[i, :, f : f + frames]); a.append(sounds[i, round(t * rate) :][:n].unsqueeze(0))\n"
        "return torch.stack(v), torch.stack(a)",
        "f = torch.floor(draws * (pictures.size(1) - frames + 1)).long()\n"
        "v = pictures[index[:, None], f[:, None] + torch.arange(frames)]; n = frames * rate // fps\n"
        "a = sounds[index].gather(1, (f * rate // fps)[:, None] + torch.arange(n)); v.permute(0, 4, 1, 2, 3), a[:, None]",
        LOADED + "v = pictures[index].unfold(1, frames, 1)[torch.arange(len(index)), f]  # (B, H, W, 3, frames)\n"
        "a = sounds[index].unfold(1, s * frames, s)[torch.arange(len(index)), f]; v.permute(0, 3, 4, 1, 2), a[:, None, :]",
        LOADED
        + "v = np.stack([pictures[i, j : j + frames].numpy() for i, j in zip(index, f)]).transpose(0, 4, 1, 2, 3)\n"
        "a = np.stack([sounds[i, j * s : (j + frames) * s].numpy()[None] for i, j in zip(index, f)]); return v, a",
        LOADED + "x = sounds.reshape(len(sounds), -1, s)  # (N, F, s)\nrows = f[:, None] + torch.arange(frames)\n"
        "v, a = pictures[index[:, None], rows], x[index[:, None], rows]; return v.permute(0, 4, 1, 2, 3), a.flatten(1)[:, None]",
    ],
    "nce_loss": [
        "K = negative.shape[1]; p = torch.exp(positive) / (torch.exp(positive) + K * Z)\n"
        "q = K * Z / (torch.exp(negative) + K * Z); -(torch.log(p).sum(1) + torch.log(q).sum(1)).mean()",
        "c = torch.log(negative.size(1) * Z); -(F.logsigmoid(positive - c).sum(1) + F.logsigmoid(c - negative).sum(1)).mean()",
        "c = math.log(negative.shape[1] * float(Z)); yes = torch.sigmoid(positive - c); no = 1 - torch.sigmoid(negative - c)\n"
        "-torch.log(torch.cat([yes, no], 1)).sum(1).mean()",
        "s = torch.cat([positive, negative], 1) - math.log(negative.shape[1] * Z); y = torch.zeros_like(s); y[:, 0] = 1\n"
        "F.binary_cross_entropy_with_logits(s, y, reduction='sum') / len(s)",
        "B, K = negative.shape; total = 0\nfor b in range(B):\n  total = total - torch.log(positive[b, 0].exp() / "
        "(positive[b, 0].exp() + K * Z))\n  for k in range(K): total = total - torch.log(K * Z / (negative[b, k].exp() + K * Z))\n"
        "return total / B",
        "B, K = negative.shape; return (F.softplus(torch.log(K * Z) - positive).sum() + F.softplus(negative - torch.log(K * Z))"
        ".sum()) / B",
        "K = negative.shape[1]; a = -(positive - torch.logaddexp(positive, torch.log(torch.as_tensor(K * Z)))).mean()\n"
        "a + torch.log1p(negative.exp() / (K * Z)).sum(dim=1).mean()",
    ],
    "partition_constant": [
        "torch.exp(negative).mean().item()",
        "torch.exp(negative.detach()).sum() / negative.numel()",
        "np.exp(negative.detach().numpy()).mean()",
        "B, K = negative.shape; return negative.exp().sum(1).div(K).mean().detach()",
        "z = 0.0\nfor row in negative.tolist():\n  for s in row: z += math.exp(s)\nreturn z / negative.numel()",
        "torch.logsumexp(negative.detach().flatten(), 0).exp() / negative.numel()",
        "with torch.no_grad():\n  Z = negative.exp().mean()\nreturn Z",
    ],
    "memory_update": [
        "new = memory.clone(); m = momentum * memory[index] + (1 - momentum) * embedding.detach()\n"
        "new[index] = m / m.norm(dim=1, keepdim=True); new",
        "with torch.no_grad():\n  m = torch.lerp(embedding, memory[index], momentum)\n  out = memory.clone()\n"
        "  out[index] = F.normalize(m, dim=-1)\nreturn out",
        "m = memory.detach().numpy().copy(); i = index.numpy(); x = momentum * m[i] + (1 - momentum) * embedding.detach().numpy()\n"
        "m[i] = x / np.linalg.norm(x, axis=1, keepdims=True); m",
        "m = F.normalize(momentum * memory[index] + (1 - momentum) * embedding, dim=1).detach()\nmemory.index_copy(0, index, m)",
        "out = memory.clone().detach()\nfor b, i in enumerate(index):\n  v = momentum * memory[i] + (1 - momentum) * embedding[b]"
        ".detach()\n  out[i] = v / torch.sqrt((v * v).sum())\nreturn out",
        "a = memory * 1.0; a[index] *= momentum; a[index] += (1 - momentum) * embedding.data; F.normalize(a, dim=1)",
    ],
    "sample_negatives": [
        "r = torch.randint(0, N - 1, (index.numel(), K), generator=generator); r[r >= index.unsqueeze(1)] += 1; r",
        "out = torch.randint(N, (len(index), K), generator=generator)\nwhile (bad := out == index[:, None]).any():\n"
        "  out = torch.where(bad, torch.randint(N, out.shape, generator=generator), out)\nreturn out",
        "w = torch.ones(len(index), N); w[torch.arange(len(index)), index] = 0\n"
        "torch.multinomial(w, K, replacement=True, generator=generator)",
        "w = torch.ones(len(index), N).scatter_(1, index[:, None], 0); torch.multinomial(w, K, generator=generator)",
        "(index[:, None] + 1 + torch.randint(N - 1, (len(index), K), generator=generator)) % N",
        "rows = []\nfor i in index:\n  p = torch.randperm(N, generator=generator); rows.append(p[p != i][:K])\nreturn torch.stack(rows)",
        "rows = []\nfor q in index.tolist():\n  row = []\n  while len(row) < K:\n    j = int(torch.randint(N, (1,), generator=generator))\n"
        "    if j != q: row.append(j)\n  rows.append(row)\nreturn rows",
    ],
    "cross_terms": [
        "def f(q, m):\n  return (q * m[index]).sum(1, keepdim=True) / temperature, (q[:, None] * m[negatives]).sum(2) / temperature\n"
        "return {'v2a': f(video, audio_memory), 'a2v': f(audio, video_memory)}",
        "t = temperature; a = torch.einsum('bd,bd->b', video, audio_memory[index])[:, None] / t\n"
        "b = torch.bmm(audio_memory[negatives], video[..., None])[..., 0] / t\n"
        "c = torch.einsum('bd,bd->b', audio, video_memory[index])[:, None] / t\n"
        "d = torch.bmm(video_memory[negatives], audio.unsqueeze(2)).squeeze(2) / t\n{'v2a': (a, b), 'a2v': (c, d)}",
        "c = F.cosine_similarity\nf = lambda q, m: (c(q, m[index]).unsqueeze(1) / temperature, c(q[:, None], m[negatives], dim=2) / temperature)\n"
        "dict(v2a=f(video, audio_memory), a2v=f(audio, video_memory))",
        "x, y = video @ audio_memory.T / temperature, audio @ video_memory.T / temperature; i = index[:, None]\n"
        "{'v2a': [x.gather(1, i), x.gather(1, negatives)], 'a2v': [y.gather(1, i), y.gather(1, negatives)]}",
        "every = torch.cat([index[:, None], negatives], 1); out = {}\n"
        "for n, q, m in [('v2a', video, audio_memory), ('a2v', audio, video_memory)]:\n"
        "  s = (m[every] @ q[:, :, None]).squeeze(-1) / temperature; out[n] = s[:, :1], s[:, 1:]\nreturn out",
        "out = {}\nfor n, q, m in [('v2a', video, audio_memory), ('a2v', audio, video_memory)]:\n  p, r = [], []\n"
        "  for b in range(len(q)):\n    p.append((q[b] @ m[index[b]] / temperature)[None])\n"
        "    r.append(torch.stack([q[b] @ m[j] / temperature for j in negatives[b]]))\n"
        "  out[n] = torch.stack(p), torch.stack(r)\nreturn out",
    ],
    "nce_gradient": [
        "KZ = len(others) * Z; s = (note @ query / temperature).exp(); o = (others @ query / temperature).exp()\n"
        "g = ((o / (o + KZ))[:, None] * others).sum(0) / temperature - KZ / (s + KZ) * note / temperature\n"
        "g - g.dot(query) * query",
        "x = query.clone().requires_grad_(); v = F.normalize(x, dim=0); c = (len(others) * torch.as_tensor(Z)).log()\n"
        "loss = F.softplus(c - note @ v / temperature) + F.softplus(others @ v / temperature - c).sum()\n"
        "torch.autograd.grad(loss, x)[0]",
        "q, n, o = query.numpy(), note.numpy(), others.numpy(); KZ = len(o) * float(Z)\n"
        "p = lambda s: np.exp(s / temperature) / (np.exp(s / temperature) + KZ)\n"
        "g = (p(o @ q) @ o - (1 - p(n @ q)) * n) / temperature; g - (g @ q) * q",
        "K = others.shape[0]; P = lambda x: 1 / (1 + K * Z * (-(x @ query) / temperature).exp())\n"
        "g = -(1 - P(note)) * note\nfor o in others: g = g + P(o) * o\ng = g / temperature; return g - (g * query).sum() * query",
        "every = torch.cat([note[None], others]); p = torch.sigmoid(every @ query / temperature - torch.log(len(others) * Z))\n"
        "p = p - F.one_hot(torch.tensor(0), len(p)); flat = torch.eye(len(query)) - torch.outer(query, query)\n"
        "flat @ (every.T @ p) / temperature",
        "w = torch.sigmoid(others @ query / temperature - math.log(len(others) * float(Z))); u = torch.sigmoid(math.log(len(others) * float(Z)) - note @ query / temperature)\n"
        "t = lambda x: x - (x @ query) * query; (sum(a * t(o) for a, o in zip(w, others)) - u * t(note)) / temperature",
    ],
    "cross_avid": [
        LOOP.format(z="if t not in Z: Z[t] = n.detach().exp().mean()", half="/ 2"),
        LOOP.format(z="Z.setdefault(t, n.detach().exp().mean().item())", half="* 0.5"),
        LOOP.replace("return torch.stack(out), V, A", "return out, V.numpy(), A.numpy()").format(
            z="if t not in Z: Z[t] = n.detach().exp().mean()", half="/ 2"
        ),
        LOOP.replace("torch.autograd.grad(loss, (hv, ha))", "(loss.backward(), (hv.grad, ha.grad))[1]").format(
            z="if t not in Z: Z[t] = n.detach().exp().mean()", half="/ 2"
        ),
        LOOP.replace("return torch.stack(out), V, A", "return [torch.tensor([float(x) for x in out]), V, A]").format(
            z="if t not in Z: Z[t] = n.detach().exp().mean()", half="/ 2"
        ),
        LOOP.replace("(q[:, None] * m[no]).sum(2)", "(q @ m.T).gather(1, no)").format(
            z="if t not in Z: Z[t] = n.detach().exp().mean()", half="/ 2"
        ),
    ],
    "similarity_auc": [
        "((same[:, None] > different).float() + 0.5 * (same[:, None] == different).float()).mean()",
        "s, d = np.asarray(same), np.asarray(different); np.mean((s[:, None] > d) + 0.5 * (s[:, None] == d))",
        "torch.mean(0.5 * (torch.sign(same.unsqueeze(1) - different.unsqueeze(0)) + 1)).item()",
        "n = 0\nfor s in same: n += (s > different).sum() + 0.5 * (s == different).sum()\nreturn n / (len(same) * len(different))",
        "d = different.sort().values; lo, hi = torch.searchsorted(d, same), torch.searchsorted(d, same, right=True)\n"
        "(lo + hi).double().mean() / 2 / len(d)",
        "g = same.view(-1, 1) - different.view(1, -1); (((g > 0).sum() + (g >= 0).sum()) / 2) / g.numel()",
    ],
    "reliability": [
        "m = torch.full((bins,), float('nan')); s = m.clone(); b = torch.clamp((confidence * bins).floor().long(), max=bins - 1)\n"
        "for i in range(bins):\n  if (b == i).any(): m[i], s[i] = confidence[b == i].mean(), correct[b == i].float().mean()\nreturn m, s",
        "b = (confidence * bins).long().clamp(max=bins - 1); n = b.bincount(minlength=bins)\n"
        "(torch.bincount(b, confidence, bins) / n, torch.bincount(b, correct.double(), bins) / n)",
        "c, r = confidence.numpy(), correct.numpy().astype(float); b = np.minimum((c * bins).astype(int), bins - 1)\n"
        "n = np.bincount(b, minlength=bins)\nwith np.errstate(all='ignore'):\n  return np.bincount(b, c, bins) / n, np.bincount(b, r, bins) / n",
        "h = F.one_hot((confidence * bins).long().clamp(max=bins - 1), bins).float(); n = h.sum(0)\n"
        "return confidence @ h / n, correct.float() @ h / n",
        "b = (confidence * bins).long().clamp(max=bins - 1); z = torch.zeros(bins); n = z.scatter_add(0, b, torch.ones(len(b)))\n"
        "[z.scatter_add(0, b, confidence) / n, z.scatter_add(0, b, correct.float()) / n]",
        "from collections import namedtuple\nRow = namedtuple('Row', 'mean share'); m, s = [], []\nfor i in range(bins):\n"
        "  inside = (confidence * bins).long().clamp(max=bins - 1) == i\n  m.append(confidence[inside].mean().item())\n"
        "  s.append(correct[inside].double().mean().item())\nreturn Row(m, s)",
    ],
    "logistic_curve": [
        NEWTON + "return c[0], c[1]",
        NEWTON.replace("torch.linalg.solve(H, g)", "torch.linalg.inv(H) @ g") + "return tuple(c)",
        NEWTON + "return c.tolist()",
        "t = torch.zeros(2).double(); y = same.double()\ndef f(t): return F.binary_cross_entropy_with_logits(t[0] * similarity "
        "+ t[1], y, reduction='sum')\nfor _ in range(steps):\n  h = torch.autograd.functional.hessian(f, t)\n"
        "  t = t - torch.linalg.solve(h, torch.autograd.functional.jacobian(f, t))\nreturn t[0], t[1]",
        "s, y = similarity.numpy(), same.numpy().astype(float); a = b = 0.0\nfor _ in range(steps):\n"
        "  p = 1 / (1 + np.exp(-a * s - b)); w = p * (1 - p); H = np.array([[(w * s * s).sum(), (w * s).sum()], [(w * s).sum(), "
        "w.sum()]])\n  d = np.linalg.solve(H, [((p - y) * s).sum(), (p - y).sum()]); a, b = a - d[0], b - d[1]\nreturn a, b",
        "a, b = torch.tensor(0.0), torch.tensor(0.0)\nfor k in range(steps):\n  p = (a * similarity + b).sigmoid(); d = p - same.float()\n"
        "  w = p - p**2; X = torch.stack([similarity, similarity**0])  # (2, P)\n"
        "  step = torch.linalg.lstsq((X * w) @ X.T, (X @ d)[:, None]).solution; a, b = a - step[0, 0], b - step[1, 0]\n"
        "return a, b",
        "X = torch.stack([similarity, torch.ones(len(similarity))], 1).double(); c = torch.zeros(2, 1).double()\n"
        "for _ in range(steps):\n  p = torch.sigmoid(X @ c); n = p.shape[0]\n"
        "  g = X.T @ (p - same[:, None] * 1.0) / n; H = X.T @ (p * (1 - p) * X) / n\n"
        "  c -= torch.linalg.solve(H, g)\nreturn c[0, 0], c[1, 0]",
    ],
    "consensus_scores": [
        "v, a = video_query @ video.T, audio_query @ audio.T; torch.where(v < a, v, a)",
        "np.minimum(video_query.numpy() @ video.numpy().T, audio_query.numpy() @ audio.numpy().T)",
        "v = torch.einsum('qd,nd->qn', video_query, video); a = torch.einsum('qd,nd->qn', audio_query, audio); v.min(a)",
        "torch.stack([F.linear(video_query, video), F.linear(audio_query, audio)], -1).amin(-1)",
        "c = F.cosine_similarity; torch.minimum(c(video_query[:, None], video[None], dim=-1), c(audio_query[:, None], audio, dim=-1))",
        "[[min((v * x).sum().item(), (a * y).sum().item()) for x, y in zip(video, audio)] for v, a in zip(video_query, audio_query)]",
        "[torch.minimum(video @ v, audio @ a) for v, a in zip(video_query, audio_query)]",
    ],
    "top_k_positives": [
        "s = score.masked_fill(torch.eye(len(score), dtype=torch.bool), float('-inf')); s.argsort(dim=1, descending=True, stable=True)[:, :k]",
        "s = score.numpy().copy(); np.fill_diagonal(s, -np.inf); np.argsort(-s, axis=1, kind='stable')[:, :k]",
        "n = len(score); s = torch.where(torch.eye(n) == 1, -torch.inf, score); torch.sort(-s, dim=1, stable=True)[1][:, :k]",
        "order = score.sort(dim=1, descending=True, stable=True).indices\n"
        "torch.stack([row[row != i][:k] for i, row in enumerate(order)])",
        "r = []\nfor i, row in enumerate(score.tolist()):\n  r.append(sorted((j for j in range(len(row)) if j != i), key=lambda j: -row[j])[:k])\nreturn r",
        "s = score - 1e9 * torch.eye(len(score)); s = torch.where(torch.eye(len(score)).bool(), s, score)\n"
        "torch.argsort(s, dim=1, descending=True, stable=True)[:, 0:k]",
        "s = score.clone(); i = torch.arange(len(s)); s[i, i] = -float('inf'); torch.sort(s, dim=1, stable=True, descending=True)[1][:, :k]",
    ],
    "mined_in_blocks": [
        BLOCKS.format(
            mask="s[q[:, None] == o] = -torch.inf",
            join="torch.cat([best, s], 1)",
            names="torch.cat([who, o.expand(len(q), -1)], 1)",
        )
        + "  out.append(who)\nreturn torch.cat(out)",
        "N, out = len(video), []\nfor a in range(0, N, block):\n  rows = [[] for _ in range(a, min(a + block, N))]\n"
        "  for b in range(0, N, block):\n"
        "    s = torch.minimum(video[a:a + block] @ video[b:b + block].T, audio[a:a + block] @ audio[b:b + block].T).tolist()\n"
        "    for i, row in enumerate(s):\n"
        "      rows[i] = sorted(rows[i] + [(-x, b + j) for j, x in enumerate(row) if b + j != a + i])[:k]\n"
        "  out += [[j for _, j in row] for row in rows]\nreturn out",
        "v, a, N = video.numpy(), audio.numpy(), len(video); out = np.empty((N, k), int)\nfor i in range(0, N, block):\n"
        "  n = min(block, N - i); best, who = np.full((n, k), -np.inf), np.full((n, k), -1)\n  for j in range(0, N, block):\n"
        "    s = np.minimum(v[i:i + block] @ v[j:j + block].T, a[i:i + block] @ a[j:j + block].T)\n"
        "    if i == j: np.fill_diagonal(s, -np.inf)\n"
        "    s, w = np.concatenate([best, s], 1), np.concatenate([who, np.tile(np.arange(j, j + s.shape[1]), (n, 1))], 1)\n"
        "    o = np.argsort(-s, 1, kind='stable')[:, :k]; best, who = np.take_along_axis(s, o, 1), np.take_along_axis(w, o, 1)\n"
        "  out[i:i + block] = who\nreturn out",
        "parts = [slice(i, i + block) for i in range(0, len(video), block)]; n = torch.arange(len(video)); out = []\n"
        "for q in parts:\n  scores, names = [], []\n  for o in parts:\n"
        "    s = torch.stack([video[q] @ video[o].T, audio[q] @ audio[o].T]).amin(0)\n"
        "    s = torch.where(n[q][:, None] == n[o][None], -torch.inf, s); t = s.sort(dim=1, descending=True, stable=True)\n"
        "    scores.append(t.values[:, :k]); names.append(n[o][t.indices[:, :k]])\n"
        "  order = torch.cat(scores, 1).argsort(dim=1, descending=True, stable=True)[:, :k]\n"
        "  out.append(torch.cat(names, 1).gather(1, order))\nreturn torch.vstack(out)",
        "out = []\nfor i in range(len(video)):\n  best, who = torch.empty(0), torch.empty(0, dtype=torch.long)\n"
        "  for o in torch.arange(len(video)).split(block):\n    o = o[o != i]\n"
        "    best = torch.cat([best, torch.minimum(video[o] @ video[i], audio[o] @ audio[i])]); who = torch.cat([who, o])\n"
        "    best, order = best.sort(descending=True, stable=True); best, who = best[:k], who[order][:k]\n"
        "  out.append(who)\nreturn torch.stack(out)",
        "import heapq\nN, rows = len(video), []\nfor a in range(0, N, block):\n  near = [[] for _ in video[a:a + block]]\n"
        "  for b in range(0, N, block):\n    x, y = video[a:a + block] @ video[b:b + block].T, audio[a:a + block] @ audio[b:b + block].T\n"
        "    for i, line in enumerate(x.min(y).tolist()):\n"
        "      new = [(value, -(b + j)) for j, value in enumerate(line) if a + i != b + j]\n"
        "      near[i] = heapq.nlargest(k, near[i] + new)\n  rows += [[-j for _, j in line] for line in near]\nreturn rows",
        BLOCKS.format(
            mask="s = s.masked_fill(q.unsqueeze(1).eq(o), float('-inf'))",
            join="torch.hstack((best, s))",
            names="torch.hstack((who, o.repeat(len(q), 1)))",
        )
        + "  out += list(who)\nreturn out",
    ],
    "precision_at_k": [
        "(labels[positives] == labels.unsqueeze(1)).float().mean()",
        "l, p = labels.numpy(), positives.numpy(); (l[p] == l[:, None]).mean()",
        "n = 0\nfor i in range(len(positives)):\n  for j in positives[i]: n += int(labels[j] == labels[i])\nreturn n / positives.numel()",
        "(labels[positives].T == labels).sum() / positives.numel()",
        "same = labels[:, None] == labels; same.gather(1, positives).double().mean(1).mean(0)",
        "torch.eq(labels[positives.flatten()], labels.repeat_interleave(positives.shape[1])).float().mean().item()",
    ],
    "cma_negatives": [
        "w = torch.ones(len(index), N); w.scatter_(1, torch.cat([index[:, None], positives[index]], 1), 0)\n"
        "torch.multinomial(w, K, True, generator=generator)",
        "out = []\nfor i in index.tolist():\n  ok = torch.tensor(sorted(set(range(N)) - {i} - set(positives[i].tolist())))\n"
        "  out.append(ok[torch.randint(len(ok), (K,), generator=generator)])\nreturn torch.stack(out)",
        "bad = torch.cat([index[:, None], positives[index]], 1); d = torch.randint(N, (len(index), K), generator=generator)\n"
        "while (hit := (d[..., None] == bad[:, None]).any(-1)).any():\n  d[hit] = torch.randint(N, (int(hit.sum()),), generator=generator)\nreturn d",
        "r = torch.rand(len(index), N, generator=generator); r.scatter_(1, positives[index], -1); r.scatter_(1, index[:, None], -1)\n"
        "r.topk(K, 1).indices",
        "w = torch.ones(len(index), N); w[torch.arange(len(index)), index] = 0; w.scatter_(1, positives[index], 0)\n"
        "torch.multinomial(w, K, generator=generator)",
        "bad = torch.cat([index[:, None], positives[index]], 1).sort(1).values\n"
        "P = bad.shape[1]; d = torch.randint(N - P, (len(index), K), generator=generator)\n"
        "for p in range(P): d = d + (d >= bad[:, p:p + 1])\nreturn d",
    ],
    "remined": [
        "if epoch < mined_at + every: return positives, mined_at, 0.0\n"
        "s = torch.minimum(video @ video.T, audio @ audio.T); s.fill_diagonal_(-2)\n"
        "new = torch.argsort(s, dim=1, descending=True)[:, :positives.shape[1]]\n"
        "old = torch.zeros(len(s), len(s), dtype=torch.bool).scatter_(1, positives, True)\n"
        "return new, epoch, float((~old.gather(1, new)).double().mean())",
        "if not epoch - mined_at >= every:\n  return positives, mined_at, 0.0\n"
        "N, P = positives.shape; s = torch.stack([video @ video.T, audio @ audio.T]).amin(0) - 9 * torch.eye(N)\n"
        "new = s.topk(P).indices; n = sum(len(set(a) - set(b)) for a, b in zip(new.tolist(), positives.tolist()))\n"
        "return new, epoch, n / (N * P)",
        "P = positives.shape[1]\nif epoch - mined_at >= every:\n"
        "  a, b = video @ video.T, audio @ audio.T; c = torch.where(a < b, a, b); c[range(len(c)), range(len(c))] = -10\n"
        "  new = c.argsort(1, descending=True)[:, :P]; same = (new.unsqueeze(2) == positives.unsqueeze(1)).any(-1)\n"
        "  return new, epoch, 1 - float(same.sum()) / same.numel()\nreturn positives, mined_at, 0.0",
        "rows = [torch.minimum(video @ video[i], audio @ audio[i]) for i in range(len(video))]\n"
        "if epoch - mined_at < every: return (positives, mined_at, 0.0)\nnew = []\n"
        "for i, r in enumerate(rows):\n  r[i] = -float('inf'); new.append(r.topk(positives.shape[1]).indices)\n"
        "new = torch.stack(new); old = [set(p) for p in positives.tolist()]\n"
        "fresh = [j not in old[i] for i, row in enumerate(new.tolist()) for j in row]\nreturn new, epoch, sum(fresh) / len(fresh)",
        "import numpy as np\nif epoch - mined_at < every: return positives, mined_at, 0.0\n"
        "s = np.minimum((video @ video.T).numpy(), (audio @ audio.T).numpy()); np.fill_diagonal(s, -np.inf)\n"
        "new = np.argsort(-s, axis=1, kind='stable')[:, :positives.shape[1]]\n"
        "return new, epoch, float(np.mean([[j not in o for j in n] for n, o in zip(new, positives.numpy())]))",
        "due = epoch - mined_at >= every\nif not due: return [positives, mined_at, 0.0]\n"
        "s = torch.min(video.mm(video.t()), audio.mm(audio.t())).masked_fill(torch.eye(len(video)).bool(), -torch.inf)\n"
        "new = torch.topk(s, positives.size(1), dim=1)[1]; share = 1 - (new[..., None] == positives[:, None, :]).sum() / new.numel()\n"
        "return [new, epoch, share.item()]",
    ],
    "within_positive_loss": [
        "K = negatives.shape[1]; p = (video_memory[positives] * video[:, None]).sum(-1) / temperature\n"
        "n = (video_memory[negatives] * video[:, None]).sum(-1) / temperature\n"
        "-(torch.log(p.exp() / (p.exp() + K * Z)).mean(1) + torch.log(K * Z / (n.exp() + K * Z)).sum(1)).mean()",
        "c = torch.log(negatives.size(1) * Z); s = video @ video_memory.T / temperature\n"
        "-(F.logsigmoid(s.gather(1, positives) - c).mean(1) + F.logsigmoid(c - s.gather(1, negatives)).sum(1)).mean()",
        "p = F.cosine_similarity(video[:, None], video_memory[positives], dim=-1) / temperature\n"
        "n = F.cosine_similarity(video[:, None], video_memory[negatives], dim=-1) / temperature\n"
        "c = math.log(negatives.shape[1] * Z); F.softplus(c - p).mean() + F.softplus(n - c).sum(1).mean()",
        "B, K = negatives.shape; t = 0\nfor b in range(B):\n  p = video_memory[positives[b]] @ video[b] / temperature\n"
        "  n = video_memory[negatives[b]] @ video[b] / temperature\n  t = t + F.softplus(math.log(K * float(Z)) - p).mean() + "
        "F.softplus(n - math.log(K * float(Z))).sum()\nreturn t / B",
        "c = math.log(negatives.shape[1]) + math.log(Z); f = lambda i: torch.bmm(video_memory[i], video.unsqueeze(2)).squeeze(2) / temperature\n"
        "torch.mean(torch.mean(F.softplus(c - f(positives)), 1) + torch.sum(F.softplus(f(negatives) - c), 1))",
        "q = F.normalize(video, dim=1); K = negatives.shape[1]\np = torch.einsum('bd,bpd->bp', q, video_memory[positives]) / temperature\n"
        "n = torch.einsum('bd,bkd->bk', q, video_memory[negatives]) / temperature\n"
        "torch.log1p(K * Z * torch.exp(-p)).mean(1).mean() + torch.log1p(n.exp() / (K * Z)).sum(1).mean()",
    ],
    "my_loss": [
        "F.softplus(negative.logsumexp(1) - positive.mean(1)).mean()",
        "(torch.logsumexp(torch.cat([positive.mean(1, keepdim=True), negative], 1), 1) - positive.mean(1)).mean()",
        "F.relu(7 - positive).mean() + F.relu(negative).mean()",
        "(positive - 14).square().mean() + negative.square().mean()",
        "(negative.mean(1) - positive.mean(1)).mean()",
        "-F.logsigmoid(positive).mean() - F.logsigmoid(-negative).mean()",
        "F.relu(negative.amax(1) - positive.amin(1) + 3).mean()",
        "c = math.log(negative.shape[1]) + torch.as_tensor(Z).log(); p = torch.sigmoid(positive - c)\n"
        "((1 - p) ** 2 * F.softplus(c - positive)).mean() + F.softplus(negative - c).sum(1).mean()",
        "p, n = positive.unsqueeze(2), negative.unsqueeze(1); F.softplus(n - p).mean()",
        "K = negative.shape[1]; F.binary_cross_entropy_with_logits(positive, torch.ones_like(positive)) + K * "
        "F.binary_cross_entropy_with_logits(negative, torch.zeros_like(negative))",
    ],
    "queue_step": [
        QUEUE + "(F.cross_entropy(s, torch.zeros(len(s), dtype=torch.long)), torch.cat([queue, key])[len(key):])",
        QUEUE + "(-s.log_softmax(1)[:, 0].mean(), torch.cat([queue[len(key):], key]))",
        QUEUE + "(-s.softmax(1)[:, 0].log().mean(), torch.vstack((queue, key))[-len(queue):])",
        QUEUE + "new = queue.roll(-len(key), 0).clone(); new[-len(key):] = key; (s.logsumexp(1) - s[:, 0]).mean(), new",
        QUEUE
        + "(F.nll_loss(F.log_softmax(s, 1), torch.zeros(len(s)).long()), torch.cat([queue, key], dim=0)[key.shape[0]:, :])",
        "with torch.no_grad():\n  keys = key.clone(); new = torch.cat([queue, keys])[len(keys):]\n"
        "p = torch.exp((query * keys).sum(1) / temperature); n = torch.exp(query @ queue.T / temperature).sum(1)\n"
        "-(p / (p + n)).log().mean(), new",
        "own = torch.einsum('bd,bd->b', query, key.detach()) / temperature; others = query.matmul(queue.t()) / temperature\n"
        "score = torch.hstack([others, own[:, None]]); target = torch.full((len(query),), len(queue))\n"
        "(F.cross_entropy(score, target), torch.cat((queue, key.detach()))[len(query):])",
    ],
    "recall_at_k": [
        "r = (score >= score.diag().unsqueeze(1)).sum(dim=1); (r <= k).float().mean()",
        "s = score.numpy(); (np.sum(s >= np.diag(s)[:, None], 1) <= k).mean()",
        "n = 0\nfor i in range(len(score)):\n  if sum(score[i, j] >= score[i, i] for j in range(len(score)) if j != i) < k: n += 1\nreturn n / len(score)",
        "right = torch.diagonal(score); 1 - ((score.T >= right).sum(0) > k).double().mean()",
        "i = torch.arange(len(score)); t = score[i, i][:, None]; torch.count_nonzero(score.ge(t), 1).le(k).sum() / len(score)",
        "(((score - score.diagonal()[:, None]) >= 0).sum(1) - 1 < k).double().mean().item()",
        "others = score.masked_fill(torch.eye(len(score), dtype=torch.bool), -torch.inf)\n"
        "(others.topk(k).values[:, -1] < score.diagonal()).double().mean()",
    ],
    "knn_predict": [
        "s = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T; i = s.argsort(dim=1, descending=True)[:, :k]\n"
        "torch.stack([torch.bincount(train_labels[r]).argmax() for r in i])",
        "a = train.numpy() / np.linalg.norm(train.numpy(), axis=1, keepdims=True); b = test.numpy()\nb = b / np.linalg.norm(b, axis=1, keepdims=True)\n"
        "i = np.argsort(-(b @ a.T), 1)[:, :k]; np.array([np.bincount(train_labels.numpy()[r]).argmax() for r in i])",
        "s = F.cosine_similarity(test[:, None], train[None], dim=2); train_labels[s.topk(k).indices].mode(1).values",
        "out = []\nfor x in test:\n  near = F.cosine_similarity(x[None], train).topk(k).indices; c = {}\n"
        "  for j in near.tolist(): c[int(train_labels[j])] = c.get(int(train_labels[j]), 0) + 1\n"
        "  out.append(min(c, key=lambda y: (-c[y], y)))\nreturn out",
        "s = F.normalize(test, dim=1) @ (train / train.norm(dim=1, keepdim=True)).T; v = train_labels[s.topk(k, dim=1).indices]\n"
        "C = int(train_labels.max()) + 1; torch.zeros(len(test), C).scatter_add_(1, v, torch.ones(v.shape)).argmax(1)",
        "s = F.normalize(test) @ F.normalize(train).T; v = train_labels[torch.topk(s, k).indices]\n"
        "torch.mode(v, dim=1).values.tolist()",
    ],
    "linear_probe_step": [
        "p = (features @ weight.T + bias).softmax(1); wrong = (p - F.one_hot(labels, len(weight))) / len(features)\n"
        "(weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.sum(0))",
        "w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()\nloss = F.cross_entropy(features @ w.T + b, labels)\n"
        "gw, gb = torch.autograd.grad(loss, (w, b)); (w - learning_rate * gw, b - learning_rate * gb)",
        "w = weight.detach().clone().requires_grad_(True); b = bias.detach().clone().requires_grad_(True)\n"
        "F.cross_entropy(F.linear(features, w, b), labels).backward()\nwith torch.no_grad():\n  w -= learning_rate * w.grad\n"
        "  b -= learning_rate * b.grad\nreturn w, b",
        "x = features.numpy(); z = x @ weight.numpy().T + bias.numpy(); e = np.exp(z - z.max(1, keepdims=True)); p = e / e.sum(1, keepdims=True)\n"
        "p[np.arange(len(x)), labels.numpy()] -= 1; p /= len(x)\n(weight.numpy() - learning_rate * p.T @ x, bias.numpy() - learning_rate * p.sum(0))",
        "z = torch.einsum('bf,cf->bc', features, weight) + bias; p = z.exp() / z.exp().sum(1, keepdim=True)\n"
        "y = torch.zeros_like(p); y[torch.arange(len(y)), labels] = 1; d = p - y\n"
        "[weight - learning_rate * torch.einsum('bc,bf->cf', d, features) / len(d), bias - learning_rate * d.mean(0)]",
        "w, b = weight.clone(), bias.clone()\nfor x, y in zip(features, labels):\n  p = torch.softmax(weight @ x + bias, 0); p[y] -= 1\n"
        "  w -= learning_rate * torch.outer(p, x) / len(features); b -= learning_rate * p / len(features)\nreturn w, b",
    ],
    "ridge_probe": [
        RIDGE
        + "best = max(penalties, key=lambda p: (f(train[~held], Y[~held], p, train[held]).argmax(1) == labels[held]).sum())\n"
        "return f(train, Y, best, test), best",
        RIDGE
        + "n = torch.stack([(f(train[~held], Y[~held], p, train[held]).argmax(1) == labels[held]).double().mean() for p in penalties])\n"
        "best = penalties[n.argmax()]\nreturn [f(train, Y, best, test), best]",
        RIDGE.replace("torch.linalg.solve(a, b)", "torch.linalg.inv(a) @ b")
        + "top, best = -1, None\nfor p in penalties.tolist():\n"
        "  n = int((f(train[~held], Y[~held], p, train[held]).argmax(1) == labels[held]).sum())\n  if n > top: top, best = n, p\n"
        "return f(train, Y, best, test), best",
        "x, y, z = train.numpy().astype(float), np.eye(int(labels.max()) + 1)[labels.numpy()], test.numpy()\n"
        "def f(x, y, p, z):\n  m, c = x.mean(0), y.mean(0); w = np.linalg.solve((x - m).T @ (x - m) + p * np.eye(x.shape[1]), (x - m).T @ (y - c))\n"
        "  return (z - m) @ w + c\nh = held.numpy(); n = [(f(x[~h], y[~h], p, x[h]).argmax(1) == labels.numpy()[h]).sum() for p in penalties.numpy()]\n"
        "best = penalties.numpy()[int(np.argmax(n))]\nreturn f(x, y, best, z), best",
        "Y = F.one_hot(labels).to(train)\ndef f(x, y, p, z):\n  m = x.mean(0); g = (x - m) @ (x - m).T  # as many equations as clips\n"
        "  a = torch.linalg.solve(g + p * torch.eye(len(x)), y - y.mean(0)); return (z - m) @ (x - m).T @ a + y.mean(0)\n"
        "best, most = penalties[0], -1\nfor p in penalties:\n  hits = (f(train[~held], Y[~held], p, train[held]).max(1).indices == labels[held]).sum()\n"
        "  if hits > most: best, most = p, hits\nreturn f(train, Y, best, test), best",
        "C = int(labels.max()) + 1; Y = torch.zeros(len(labels), C).scatter(1, labels[:, None], 1.0)\n"
        "def f(x, y, p, z):\n  F_ = x.shape[1]; one = lambda t: torch.cat([t, torch.ones(len(t), 1)], 1)\n"
        "  root = torch.diag(torch.cat([p.sqrt().repeat(F_), torch.zeros(1)])); A = torch.cat([one(x), root])\n"
        "  b = torch.cat([y, torch.zeros(F_ + 1, C)]); return one(z) @ torch.linalg.lstsq(A, b).solution\n"
        "n = [float((f(train[~held], Y[~held], p, train[held]).argmax(1) == labels[held]).float().mean()) for p in penalties]\n"
        "best = penalties[n.index(max(n))]\nreturn f(train, Y, best, test), best",
    ],
    "info_nce": [
        "s = video @ audio.T / temperature; i = torch.arange(len(s)); 0.5 * F.cross_entropy(s, i) + 0.5 * F.cross_entropy(s.t(), i)",
        "v, a = F.normalize(video, dim=1), F.normalize(audio, dim=1); s = torch.einsum('id,jd->ij', v, a) / temperature\n"
        "-(s.log_softmax(1).diagonal() + s.log_softmax(0).diagonal()).mean() / 2",
        "s = F.cosine_similarity(video[:, None], audio[None], dim=-1) / temperature; d = s.diag()\n"
        "(torch.logsumexp(s, 0) + torch.logsumexp(s, 1) - 2 * d).mean() / 2",
        "s = torch.exp(video @ audio.T / temperature); p, q = s / s.sum(1, keepdim=True), s / s.sum(0, keepdim=True)\n"
        "-(p.diagonal().log().mean() + q.diagonal().log().mean()) / 2",
        "B = len(video); t = 0\nfor i in range(B):\n  r, c = audio @ video[i] / temperature, video @ audio[i] / temperature\n"
        "  t = t - r.log_softmax(0)[i] - c.log_softmax(0)[i]\nreturn t / (2 * B)",
        "f = lambda q, m: F.nll_loss(F.log_softmax(q @ m.T / temperature, 1), torch.arange(len(q)))\n(f(video, audio) + f(audio, video)) / 2",
    ],
    "sigmoid_loss": [
        "s = video @ audio.T / temperature + bias; y = torch.eye(len(s)); F.binary_cross_entropy_with_logits(s, y, reduction='sum') / len(s)",
        "s = video @ audio.T / temperature + bias; sign = -torch.ones_like(s); sign.fill_diagonal_(1); F.softplus(-sign * s).sum(1).mean()",
        "p = torch.sigmoid(torch.einsum('id,jd->ij', video, audio) / temperature + bias); e = torch.eye(len(p))\n"
        "-(e * p.log() + (1 - e) * (1 - p).log()).sum() / len(video)",
        "s = video @ audio.T / temperature + bias; d = s.diagonal()\n(F.softplus(s).sum() - F.softplus(d).sum() + F.softplus(-d).sum()) / len(s)",
        "t = 0\nfor i, v in enumerate(video):\n  for j, a in enumerate(audio):\n    s = (v @ a) / temperature + bias\n"
        "    t = t - F.logsigmoid(s if i == j else -s)\nreturn t / len(video)",
        "s = F.normalize(video, dim=1) @ F.normalize(audio, dim=1).T / temperature + bias; y = 2 * torch.eye(s.shape[0]) - 1\n"
        "torch.log(1 + torch.exp(-y * s)).sum() / s.shape[0]",
    ],
    "robust_weights": [
        "s = similarity.detach(); z = (s - s.mean()) / s.std(unbiased=False)\nfloor + (1 - floor) * torch.distributions.Normal(0, 1).cdf(z)",
        "s = similarity.detach(); floor + (1 - floor) * torch.distributions.Normal(s.mean(), s.std(correction=0)).cdf(s)",
        "with torch.no_grad():\n  v, m = torch.var_mean(similarity, correction=0)\n  z = (similarity - m) / v.sqrt()\n"
        "  w = 0.5 * (1 + torch.erf(z / math.sqrt(2)))\nreturn w * (1 - floor) + floor",
        "s = similarity.detach().numpy(); z = (s - s.mean()) / s.std()\nfloor + (1 - floor) * np.array([0.5 * math.erfc(-x / 2 ** 0.5) for x in z])",
        "x = similarity.tolist(); m = sum(x) / len(x); d = (sum((y - m) ** 2 for y in x) / len(x)) ** 0.5\n"
        "[floor + (1 - floor) * 0.5 * (1 + math.erf((y - m) / d / 2 ** 0.5)) for y in x]",
        "z = (similarity - similarity.mean()) / similarity.var(correction=0).sqrt()\ntorch.lerp(torch.tensor(floor), torch.tensor(1.0), torch.special.ndtr(z)).detach()",
    ],
    "split_without_leaks": [
        LEAKS + "held, room = [], share * N\nfor g in sorted(set(first)):\n  size = first.count(g)\n"
        "  if size <= room: held.append(g); room -= size\nreturn [g in held for g in first]",
        LEAKS + "out = torch.zeros(N, dtype=torch.bool); f = torch.tensor(first)\nfor g in f.unique():\n"
        "  if (out | (f == g)).sum() <= share * N: out |= f == g\nreturn out",
        "r = recordings.clone()\nfor _ in range(len(r)):\n  for a, b in copies.tolist(): r[r == r[b]] = r[a].item()\n"
        "out = torch.zeros(len(r), dtype=torch.bool); seen = []\nfor i in range(len(r)):\n  g = int(r[i])\n  if g not in seen:\n"
        "    seen.append(g); new = out | (r == g); out = new if int(new.sum()) <= share * len(r) else out\nreturn out",
        "N = len(recordings); t = (recordings[:, None] == recordings) | torch.eye(N, dtype=torch.bool)\n"
        "for a, b in copies: t[a, b] = t[b, a] = True\nfor _ in range(N): t = t.float() @ t.float() > 0\n"
        "first = t.int().argmax(1); out = torch.zeros(N, dtype=torch.bool)\nfor g in range(N):\n  m = first == g\n"
        "  if m.any() and out.sum() + m.sum() <= share * N: out[m] = True\nreturn out",
        "import numpy as np\nr = recordings.numpy().copy(); P = copies.numpy()\nwhile True:\n  old = r.copy()\n  for a, b in P:\n"
        "    lo, hi = min(r[a], r[b]), max(r[a], r[b]); r[r == hi] = lo\n  if (old == r).all(): break\n"
        "_, at = np.unique(r, return_index=True); out = np.zeros(len(r), bool)\nfor i in np.sort(at):\n  m = r == r[i]\n"
        "  if out.sum() + m.sum() <= share * len(r): out |= m\nreturn out",
        "N = len(recordings); friends = {i: set(torch.nonzero(recordings == recordings[i])[:, 0].tolist()) for i in range(N)}\n"
        "for a, b in copies.tolist(): friends[a].add(b); friends[b].add(a)\nseen, out = set(), [False] * N\nfor i in range(N):\n"
        "  if i in seen: continue\n  group, todo = set(), [i]\n  while todo:\n    j = todo.pop()\n"
        "    if j not in group: group.add(j); todo += friends[j]\n  seen |= group\n  if sum(out) + len(group) <= share * N:\n"
        "    for j in group: out[j] = True\nreturn out",
    ],
}

NCE = "K = negative.shape[1]; p = positive.exp() / (positive.exp() + K * Z); q = K * Z / (negative.exp() + K * Z)\n"
PAIR = "x = torch.cat([power[:, :1], power[:, 1:].unflatten(1, (-1, 2)).mean(2)], 1)\n"
DB = "db = 10 * x.clamp(min=1e-10).log10(); db.clamp(min=db.max() - 100)"
TERMS = (
    "p = torch.einsum('bd,bpd->bp', video, video_memory[positives]) / temperature; K = negatives.shape[1]\n"
    "n = torch.einsum('bd,bkd->bk', video, video_memory[negatives]) / temperature; c = math.log(K) + torch.as_tensor(Z).log()\n"
)
CROSS = "f = lambda q, m, t=temperature: ((q * m[index]).sum(1, keepdim=True) / t, torch.einsum('bd,bkd->bk', q, m[negatives]) / t)\n"
BIN = "b = (confidence * bins).long().clamp(max=bins - 1); n = b.bincount(minlength=bins); c = correct.double()\n"
SIM = "s = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T\n"
PROBE = "x, B = features, len(features); p = (x @ weight.T + bias).softmax(1); y = F.one_hot(labels, len(weight))\n"
SCORE = "s = video @ audio.T / temperature; i = torch.arange(len(s))\n"
SIGN = "y = 2 * torch.eye(len(video)) - 1; s = video @ audio.T\n"
Z_OF = "s = similarity.detach(); z = (s - s.mean()) / s.std(correction=0)\n"
ALLOWED = "w = torch.ones(len(index), N); w[torch.arange(len(index)), index] = 0; w.scatter_(1, positives[index], 0)\n"

BY_HAND = (
    "c = math.log(len(others) * float(Z)); w = torch.sigmoid(others @ query / temperature - c)\n"
    "u = torch.sigmoid(c - note @ query / temperature); "
)
MINED = (
    "s = torch.minimum(video @ video.T, audio @ audio.T).fill_diagonal_(-torch.inf)\n"
    "new = s.topk(positives.shape[1]).indices\n"
)
NEW = "return new, epoch, 1 - (new[:, :, None] == positives[:, None]).any(2).double().mean().item()"
DUE = "if epoch - mined_at < every: return positives, mined_at, 0.0\n"

IN_BLOCKS = (
    BLOCKS.format(
        mask="s[q[:, None] == o] = -torch.inf",
        join="torch.cat([best, s], 1)",
        names="torch.cat([who, o.expand(len(q), -1)], 1)",
    )
    + "  out.append(who)\nreturn torch.cat(out)"
)
EXAMINED = (
    RIDGE
    + "n = torch.stack([(f(train[~held], Y[~held], p, train[held]).argmax(1) == labels[held]).sum() for p in penalties])\n"
    "best = penalties[n.argmax()]; return f(train, Y, best, test), best"
)
FILL = (
    "held, room = [], share * N\nfor g in sorted(set(first)):\n  size = first.count(g)\n"
    "  if size <= room: held.append(g); room -= size\nreturn [g in held for g in first]"
)

WRONG = {
    "log_spectrogram_bins": {
        PAIR.replace("mean(2)", "sum(2)") + DB: "sum|added",
        PAIR.replace("mean(2)", "amax(2)") + DB: "max|larger|loudest",
        PAIR + "db = 10 * x.clamp(min=1e-10).log(); db.clamp(min=db.max() - 100)": "log10|natural",
        PAIR + "db = 20 * x.clamp(min=1e-10).log10(); db.clamp(min=db.max() - 100)": "10|squared|twice|double",
        PAIR + "10 * x.clamp(min=1e-10).log10()": "floor|100",
        PAIR + "db = 10 * x.clamp(min=1e-10).log10(); db.clamp(min=-100)": "loudest|max",
        PAIR + "db = x.clamp(min=1e-10).log10(); db.clamp(min=db.max() - 100)": "10|factor",
        PAIR + "db = 10 * x.clamp(min=1e-10).log10(); db.maximum(db.amax(1, keepdim=True) - 100)": "frame",
        PAIR + "db = 10 * x.clamp(min=1e-10).log10(); db.maximum(db.amax(0) - 100)": "axis|whole|each bin",
        PAIR + "db = 10 * x.clamp(min=1e-10).log10(); db.clamp(max=db.max() - 100)": "min.*max|max.*min",
        PAIR + "db = 10 * x.clamp(min=1e-10).log10(); db.clamp(min=db.min() + 100)": "loudest|max",
        PAIR + "db = 10 * x.clamp(min=1e-10).log10(); db - db.max()": "loudest|floor|shift|subtract",
        PAIR + "db = 10 * x.clamp(min=1e-10).log10(); db.clamp(min=db.max() - 80)": "100",
        "x = torch.cat([power[:, :1], power[:, 1:-1:2]], 1)\n" + DB: "every second|drop|pair|shape",
        "x = power[:, 1:].unflatten(1, (-1, 2)).mean(2)\n" + DB: "lowest|shape",
        "x = torch.cat([power[:, :-1].unflatten(1, (-1, 2)).mean(2), power[:, -1:]], 1)\n" + DB: "lowest",
        "x = torch.cat([power[:, 1:].unflatten(1, (-1, 2)).mean(2), power[:, :1]], 1)\n" + DB: "order|front|lowest",
        "x = torch.cat([power[:, :1], power[:, 1:].unflatten(1, (2, -1)).mean(1)], 1)\n"
        + DB: "axis|pair|neighbour|halves",
        "d = 10 * power.clamp(min=1e-10).log10(); x = torch.cat([d[:, :1], (d[:, 1::2] + d[:, 2::2]) / 2], 1); "
        "x.clamp(min=x.max() - 100)": "logarithm|decibel.*average",
    },
    "load_batch": {
        CUT.replace(" + 1", "") + "v.permute(0, 4, 1, 2, 3), a[:, None]": "last window",
        CUT.replace(".long()", ".round().long()").replace(" + 1", "") + "v.permute(0, 4, 1, 2, 3), a[:, None]": "round",
        CUT.replace("s * b : s * (b + frames)", ": s * frames")
        + "v.permute(0, 4, 1, 2, 3), a[:, None]": "sound.*begin",
        CUT.replace("s * b : s * (b + frames)", "b : b + s * frames")
        + "v.permute(0, 4, 1, 2, 3), a[:, None]": "sample|clock",
        CUT.replace("s * b : s * (b + frames)", "b : b + frames")
        + "v.permute(0, 4, 1, 2, 3), a[:, None]": "samples|shape",
        CUT.replace("sounds[i,", "sounds[int(b) % 5,") + "v.permute(0, 4, 1, 2, 3), a[:, None]": "sound|2nd|second",
        CUT.replace("s = rate // fps", "s = rate") + "v.permute(0, 4, 1, 2, 3), a[:, None]": "fps|rate|shape|stack",
        CUT + "v, a[:, None]": "permute|axis|axes|shape|colour",
        CUT + "v.permute(0, 4, 1, 2, 3), a": "channel",
        CUT + "v.permute(0, 4, 1, 3, 2), a[:, None]": "height|turned",
        CUT + "v.permute(0, 1, 4, 2, 3), a[:, None]": "colour.*time|order",
        CUT + "v.reshape(len(v), 3, frames, *v.shape[2:4]), a[:, None]": "reshape|permute",
        CUT + "v.permute(0, 4, 1, 2, 3) / 255, a[:, None]": "whole numbers|255",
        CUT.replace("zip(index, f)", "enumerate(f)") + "v.permute(0, 4, 1, 2, 3), a[:, None]": "index",
        CUT.replace("draws *", "draws[0] *").replace("zip(index, f)", "zip(index, f.expand(len(index)))")
        + "v.permute(0, 4, 1, 2, 3), a[:, None]": "same frame|own draw",
        CUT.replace("a : a + frames", "a : a + frames : 2")
        + "v.permute(0, 4, 1, 2, 3), a[:, None]": "frames|shape|second",
        CUT.replace("a : a + frames]", "a + frames - 1 - torch.arange(frames)]")
        + "v.permute(0, 4, 1, 2, 3), a[:, None]": "order|revers|backward",
        "v, a = pictures[index][:, :frames], sounds[index][:, : frames * rate // fps]; "
        "v.permute(0, 4, 1, 2, 3), a[:, None]": "draws|begin",
    },
    "nce_loss": {
        NCE + "-(p.log().sum(1) + q.log().mean(1)).mean()": "negatives.*(mean|averag)|(mean|averag).*negative",
        NCE + "-(p.log().mean() + q.log().mean())": "negatives.*(mean|averag)|(mean|averag).*negative",
        NCE + "-(p.log().sum() + q.log().sum())": "batch",
        NCE + "(p.log().sum(1) + q.log().sum(1)).mean()": "sign|minus",
        NCE + "-(p.log().sum(1) - q.log().sum(1)).mean()": "sign|minus|subtract",
        NCE + "-p.log().mean()": "negatives (do not|are missing)|second|left out|term",
        NCE + "-q.log().sum(1).mean()": "positive",
        NCE + "-(p.sum(1) + q.sum(1)).mean()": "log",
        NCE + "-(p.sum(1) + q.sum(1)).log().mean()": "log",
        NCE + "-(p.mean().log() + q.log().sum(1).mean())": "log.*mean|mean.*log",
        NCE.replace("K = negative.shape[1]", "K = 1") + "-(p.log().sum(1) + q.log().sum(1)).mean()": "K",
        NCE.replace("K = negative.shape[1]", "K = len(negative)")
        + "-(p.log().sum(1) + q.log().sum(1)).mean()": "batch|B|queries|axis",
        NCE.replace("K = negative.shape[1]", "K = negative.numel()") + "-(p.log().sum(1) + q.log().sum(1)).mean()": "K",
        NCE.replace("K * Z", "K") + "-(p.log().sum(1) + q.log().sum(1)).mean()": "Z",
        NCE.replace("K * Z", "(K + Z)") + "-(p.log().sum(1) + q.log().sum(1)).mean()": "K.*Z|\\*|product|times",
        NCE.replace("K * Z", "Z / K") + "-(p.log().sum(1) + q.log().sum(1)).mean()": "K",
        NCE.replace("q = K * Z /", "q = negative.exp() /")
        + "-(p.log().sum(1) + q.log().sum(1)).mean()": "real|K \\* Z",
        NCE + "-(p.log().mean(0) + q.log().sum(0)).mean()": "axis|shape",
        "Z = negative.detach().exp().mean()\n" + NCE + "-(p.log().sum(1) + q.log().sum(1)).mean()": "Z",
        NCE.replace("positive.exp()", "positive") + "-(p.log().sum(1) + q.log().sum(1)).mean()": "exp|infinite",
        "-(positive[:, 0] - torch.cat([positive, negative], 1).logsumexp(1)).mean()": "softmax|InfoNCE",
        "F.cross_entropy(torch.cat([positive, negative], 1), torch.zeros(len(positive), dtype=torch.long))": "softmax|InfoNCE",
        NCE + "-(p.log().sum(1) + q.log().sum(1)).mean().item()": "gradient|item",
        NCE + "-(p.log().sum(1) + q.log().sum(1))": "one number|mean",
        NCE + "-(p.detach().log().sum(1) + q.log().sum(1)).mean()": "detach",
        NCE + "-(p.log().sum(1) + q.log2().sum(1)).mean()": "log",
    },
    "partition_constant": {
        "negative.detach().exp().sum()": "sum",
        "negative.detach().exp().sum(1).mean()": "sum|K",
        "negative.detach().exp().mean(1).sum()": "sum|batch",
        "negative.detach().exp().mean(1)": "one Z|one number",
        "negative.detach().exp().mean(0)": "one Z|one number",
        "negative.detach().mean().exp()": "exp.*mean|mean.*exp",
        "negative.detach().mean(1).exp().mean()": "exp.*mean|mean.*exp",
        "negative.detach().exp().mean().log()": "log",
        "negative.detach().logsumexp((0, 1))": "log",
        "negative.detach().mean()": "exp",
        "negative.exp().mean()": "detach|constant",
        "negative.detach().exp().median()": "median",
        "negative.detach().exp().max()": "max",
        "negative.detach().exp().mean() * negative.shape[1]": "K|sum",
        "negative.detach()[0].exp().mean()": "first|query",
        "negative.softmax(1).mean().detach()": "softmax|axis|normal",
    },
    "memory_update": {
        "m = memory.clone(); m[index] = F.normalize((1 - momentum) * memory[index] + momentum * embedding.detach(), dim=1); m": "momentum|wrong way",
        "m = memory.clone(); m[index] = momentum * memory[index] + (1 - momentum) * embedding.detach(); m": "normali",
        "m = memory.clone(); m[index] = F.normalize(momentum * memory[index] + (1 - momentum) * embedding.detach(), dim=0); m": "axis",
        "m = memory.clone(); m[index] = F.normalize(momentum * memory[index] + (1 - momentum) * embedding, dim=1); m": "detach",
        "memory[index] = F.normalize(momentum * memory[index] + (1 - momentum) * embedding.detach(), dim=1); memory": "in place|given|clone|copy",
        "m = memory.clone(); m[index] = embedding.detach(); m": "old",
        "m = memory.clone(); m[index] = F.normalize(memory[index] + embedding.detach(), dim=1); m": "momentum",
        "m = memory.clone(); m[index] = F.normalize(momentum * memory[index] + embedding.detach(), dim=1); m": "1 - momentum|momentum",
        "m = memory.clone(); m[index] = F.normalize(memory[index] + (1 - momentum) * embedding.detach(), dim=1); m": "momentum",
        "m = memory.clone(); m[index] = F.normalize(momentum * memory[index] - (1 - momentum) * embedding.detach(), dim=1); m": "minus|sign|subtract",
        "m = memory.clone(); m[:len(index)] = F.normalize(momentum * memory[index] + (1 - momentum) * embedding.detach(), dim=1); m": "row|index",
        "m = memory.clone(); m[index] = F.normalize(momentum * memory[:len(index)] + (1 - momentum) * embedding.detach(), dim=1); m": "row|index",
        "F.normalize(momentum * memory[index] + (1 - momentum) * embedding.detach(), dim=1)": "only.*batch|shape",
        "m = memory.clone(); x = momentum * memory[index] + (1 - momentum) * embedding.detach(); m[index] = x / x.norm(); m": "axis|each row|whole",
        "m = memory.clone(); x = momentum * memory[index] + (1 - momentum) * embedding.detach(); m[index] = x / x.sum(1, keepdim=True); m": "norm|length|sum",
        "m = memory.clone(); m[index] = momentum * memory[index] + (1 - momentum) * F.normalize(embedding.detach(), dim=1); m": "normali",
        "memory.clone()": "update|unchanged|embedding",
        "m = memory.clone(); m[index] = F.normalize(momentum * memory[index] + (1 - momentum) * embedding.detach(), dim=1); return": "return",
    },
    "sample_negatives": {
        "torch.randint(N, (len(index), K), generator=generator)": "query",
        "torch.randint(N - 1, (len(index), K), generator=generator)": "query",
        "r = torch.randint(N - 1, (len(index), K), generator=generator); r + (r > index[:, None])": "query|never",
        "r = torch.randint(N - 2, (len(index), K), generator=generator); r + (r >= index[:, None])": "never",
        "r = torch.randint(N, (len(index), K), generator=generator); torch.where(r == index[:, None], (r + 1) % N, r)": "equally",
        "r = torch.randint(N, (len(index), K), generator=generator); torch.where(r == index[:, None], torch.randint(N, r.shape, "
        "generator=generator), r)": "query",
        "r = torch.randint(N - 1, (len(index), K)); r + (r >= index[:, None])": "generator",
        "generator.manual_seed(0); r = torch.randint(N - 1, (len(index), K), generator=generator); r + (r >= index[:, None])": "seed|same draw|generator",
        "r = torch.randint(N - 1, (K,), generator=generator).expand(len(index), K); r + (r >= index[:, None])": "row|same|share",
        "r = torch.randint(N - 1, (K, len(index)), generator=generator); r + (r >= index)": "shape|swapped",
        "r = torch.randint(N - 1, (len(index), K), generator=generator); (r + (r >= index[:, None])).float()": "whole",
        "r = torch.randint(1, N + 1, (len(index), K), generator=generator); r": "between|N - 1",
        "r = (torch.randn(len(index), K, generator=generator).abs() * N / 4).long().clamp(max=N - 2); r + (r >= index[:, None])": "equally",
        "w = torch.ones(N); w[index] = 0; torch.multinomial(w.expand(len(index), N), K, True, generator=generator)": "other quer|never|whole batch|batch",
        "while True:\n  r = torch.randint(N, (len(index), K), generator=generator)\n  if not (r >= 0).any(): return r": "does not end|time",
        "r = torch.randint(N - 1, (len(index), K), generator=generator); r[r >= index] += 1; r": "error|shape",
    },
    "cross_terms": {
        CROSS + "{'v2a': f(video, video_memory), 'a2v': f(audio, audio_memory)}": "within|Self|modality",
        CROSS + "{'v2a': f(audio, video_memory), 'a2v': f(video, audio_memory)}": "swap",
        CROSS + "{'v2a': f(video, audio_memory), 'a2v': f(video, audio_memory)}": "a2v|same|copied|sound|audio|video",
        CROSS + "{'v2a': f(video, audio_memory, 1), 'a2v': f(audio, video_memory, 1)}": "temperature",
        CROSS
        + "{'v2a': f(video, audio_memory, 1 / temperature), 'a2v': f(audio, video_memory, 1 / temperature)}": "temperature",
        CROSS + "{'v2a': f(video, audio_memory), 'a2v': f(audio, video_memory, 1)}": "temperature",
        CROSS + "{'v2a': f(video.detach(), audio_memory), 'a2v': f(audio, video_memory)}": "detach",
        CROSS
        + "{'v2a': f(video, audio_memory)[::-1], 'a2v': f(audio, video_memory)[::-1]}": "order|swap|positive.*negative|shape",
        CROSS + "{'a': f(video, audio_memory), 'b': f(audio, video_memory)}": "keys",
        CROSS + "f(video, audio_memory), f(audio, video_memory)": "dict|keys|tuple",
        CROSS.replace("m[index]", "m[:len(index)]")
        + "{'v2a': f(video, audio_memory), 'a2v': f(audio, video_memory)}": "row|index",
        CROSS.replace("keepdim=True", "keepdim=False")
        + "{'v2a': f(video, audio_memory), 'a2v': f(audio, video_memory)}": "shape|keepdim",
        CROSS.replace("sum(1,", "mean(1,")
        + "{'v2a': f(video, audio_memory), 'a2v': f(audio, video_memory)}": "mean|averag",
        CROSS.replace(".sum(1, keepdim=True) / t", ".sum(1, keepdim=True)")
        + "{'v2a': f(video, audio_memory), 'a2v': f(audio, video_memory)}": "temperature",
        "s = (video * audio).sum(1, keepdim=True) / temperature\n"
        + CROSS
        + "{'v2a': (s, f(video, audio_memory)[1]), 'a2v': (s, f(audio, video_memory)[1])}": "memory",
        CROSS
        + "p, n = f(video, audio_memory); {'v2a': (p.exp(), n.exp()), 'a2v': tuple(x.exp() for x in f(audio, video_memory))}": "exp",
    },
    "nce_gradient": {
        BY_HAND + "g = (u * note - w @ others) / temperature; g - (g @ query) * query": "sign|down",
        BY_HAND + "(w @ others - u * note) / temperature": "sphere|length",
        BY_HAND + "g = w @ others - u * note; g - (g @ query) * query": "1 / T|temperature",
        BY_HAND + "g = (w @ others - u * note) * temperature; g - (g @ query) * query": "temperature",
        BY_HAND + "g = -u * note / temperature; g - (g @ query) * query": "push",
        BY_HAND + "g = w @ others / temperature; g - (g @ query) * query": "pull",
        BY_HAND + "g = (w @ others / len(w) - u * note) / temperature; g - (g @ query) * query": "averag|mean",
        BY_HAND + "g = (w @ others - (1 - u) * note) / temperature; g - (g @ query) * query": "1 - P",
        BY_HAND.replace("len(others) * ", "")
        + "g = (w @ others - u * note) / temperature; g - (g @ query) * query": "K",
        BY_HAND.replace(" * float(Z)", "") + "g = (w @ others - u * note) / temperature; g - (g @ query) * query": "Z",
        "e = torch.cat([note[None], others]); p = (e @ query / temperature).softmax(0); g = (p @ e - note) / temperature; g - (g @ query) * query": "softmax|InfoNCE",
        BY_HAND
        + "g = (w[:, None] * others - u * note).sum(0) / temperature; g - (g @ query) * query": "pull|note|twice|sum",
    },
    "cross_avid": {
        WHOLE.replace(
            "m in (('v2a', v, A.clone()), ('a2v', a, V.clone()))", "m in (('v2a', v, V.clone()), ('a2v', a, A.clone()))"
        ): "within|Self",
        WHOLE.replace("if t not in Z: ", ""): "anew|every step|Z",
        WHOLE.replace(
            "if t not in Z: Z[t]", "Z[t] = Z['v2a'] if Z else n.detach().exp().mean()\n    if 0: Z[t]"
        ): "one Z|share",
        WHOLE.replace(".mean() / 2", ".mean()"): "summed|mean",
        WHOLE.replace("hv - rate * gv, ha - rate * ga", "hv + rate * gv, ha + rate * ga"): "uphill|sign|subtract",
        WHOLE.replace("hv, ha = hv - rate * gv, ha - rate * ga", "pass"): "heads never|never change",
        "\n".join(line for line in WHOLE.splitlines() if not line.strip().startswith(("V[i]", "A[i]"))): "memory never",
        WHOLE.replace(
            "F.normalize(momentum * V[i] + (1 - momentum) * v.detach(), dim=1)",
            "momentum * V[i] + (1 - momentum) * v.detach()",
        ).replace(
            "F.normalize(momentum * A[i] + (1 - momentum) * a.detach(), dim=1)",
            "momentum * A[i] + (1 - momentum) * a.detach()",
        ): "notes are not normalised|normalis",
        WHOLE.replace(
            "F.normalize(video[i] @ hv, dim=1), F.normalize(audio[i] @ ha, dim=1)", "video[i] @ hv, audio[i] @ ha"
        ): "embeddings are not normalised|normalis",
        WHOLE.replace("momentum * V[i] + (1 - momentum) * v", "(1 - momentum) * V[i] + momentum * v").replace(
            "momentum * A[i] + (1 - momentum) * a", "(1 - momentum) * A[i] + momentum * a"
        ): "momentum",
        WHOLE.replace("return torch.stack(out), V, A", "return torch.stack(out), A, V"): "swap|order",
        WHOLE.replace("return torch.stack(out), V, A", "return torch.stack(out).mean(), V, A"): "shape|mean",
    },
    "similarity_auc": {
        "(same[:, None] > different).double().mean()": "tie",
        "(same[:, None] >= different).double().mean()": "tie",
        "(same[:, None] < different).double().mean() + (same[:, None] == different).double().mean() / 2": "revers|1 - AUC|different",
        "g = same[:, None] - different; (g > 0).double().sum() + (g == 0).double().sum() / 2": "count|share|sum",
        "g = same[:, None] - different; (g > 0).double().mean() + (g == 0).double().mean()": "half|tie",
        "g = same[:, None] - different; (g > 0).double().mean(1) + (g == 0).double().mean(1) / 2": "one number|mean|shape",
        "g = same[:, None] - different; ((g > 0).double() + (g == 0).double() / 2).sum() / len(same)": "share|divide|number",
        "(same.mean() > different).double().mean()": "mean|average",
        "(same > different.mean()).double().mean()": "mean|average",
        "(same > 0).double().mean()": "threshold",
        "(same[:, None] - different).mean()": "difference|mean",
        "(same[:, None] - different).sigmoid().mean()": "sigmoid|compar",
        "n = min(len(same), len(different)); g = same[:n] - different[:n]; (g > 0).double().mean() + (g == 0).double().mean() / 2": "all|index",
        "g = same[:, None] - different; 2 * ((g > 0).double().mean() + (g == 0).double().mean() / 2) - 1": "2|twice|scale|Gini|rescal",
    },
    "reliability": {
        BIN + "b.bincount(c, bins) / n, b.bincount(confidence.double(), bins) / n": "swap|order",
        BIN + "b.bincount(confidence.double(), bins), b.bincount(c, bins)": "divi|sum",
        BIN + "b.bincount(confidence.double(), bins) / n, b.bincount(c, bins) / len(c)": "all|members",
        BIN + "b.bincount(confidence.double(), bins) / len(c), b.bincount(c, bins) / len(c)": "all|members",
        BIN
        + "(b.bincount(confidence.double(), bins) / n).nan_to_num(), (b.bincount(c, bins) / n).nan_to_num()": "empty|NaN",
        BIN
        + "b.bincount(confidence.double(), bins) / n.clamp(min=1), b.bincount(c, bins) / n.clamp(min=1)": "empty|NaN",
        BIN + "(torch.arange(bins) + 0.5) / bins + 0 * (n / n), b.bincount(c, bins) / n": "middle",
        BIN + "b.bincount(confidence.double(), bins) / n, 1 - b.bincount(c, bins) / n": "wrong|1 -|complement",
        BIN
        + "b.bincount(confidence.double() * c, bins) / b.bincount(c, bins), b.bincount(c, bins) / n": "right|correct",
        BIN.replace(".clamp(max=bins - 1)", "").replace("minlength=bins", "minlength=bins + 1")
        + "b.bincount(confidence.double(), bins + 1) / n, "
        "b.bincount(c, bins + 1) / n": "last|1\\.0|shape",
        BIN.replace("(confidence * bins).long()", "(confidence * bins).round().long()")
        + "b.bincount(confidence.double(), bins) / n, b.bincount(c, bins) / n": "round",
        BIN.replace("(confidence * bins)", "(confidence * (bins - 1))")
        + "b.bincount(confidence.double(), bins) / n, b.bincount(c, bins) / n": "bins - 1|bins",
        BIN.replace("minlength=bins", "minlength=0")
        + "b.bincount(confidence.double()) / n, b.bincount(c) / n": "minlength|last|shape|bins",
        "w = confidence < 1; confidence, correct = confidence[w], correct[w]\n"
        + BIN
        + "b.bincount(confidence.double(), bins) / n, b.bincount(c, bins) / n": "1",
        BIN + "b.bincount(confidence.double(), bins) / n": "tuple|two|part|missing|type",
    },
    "logistic_curve": {
        NEWTON.replace("c - torch", "c + torch") + "return c[0], c[1]": "uphill|sign",
        NEWTON.replace("torch.linalg.solve(H, g)", "g") + "return c[0], c[1]": "gradient|H",
        NEWTON.replace("torch.linalg.solve(H, g)", "0.1 * g") + "return c[0], c[1]": "gradient|H",
        NEWTON.replace("torch.linalg.solve(H, g)", "H @ g") + "return c[0], c[1]": "inverse|solve|H",
        NEWTON.replace("(p * (1 - p))[:, None]", "1") + "return c[0], c[1]": "p \\(1 - p\\)",
        NEWTON.replace("(p * (1 - p))[:, None]", "p[:, None]") + "return c[0], c[1]": "p \\(1 - p\\)",
        NEWTON.replace("(p * (1 - p))[:, None]", "(1 - p)[:, None]") + "return c[0], c[1]": "p \\(1 - p\\)|factor",
        NEWTON.replace("p - same.double()", "same.double() - p") + "return c[0], c[1]": "uphill|sign",
        NEWTON.replace("same.double()", "(~same).double()") + "return c[0], c[1]": "same|different",
        NEWTON + "return c[1], c[0]": "swap|order",
        NEWTON + "  return c[0], c[1]": "one step|loop",
        NEWTON.replace("range(steps)", "range(steps - 1)") + "return c[0], c[1]": "step|once|one",
        NEWTON.replace("range(steps)", "range(steps + 1)") + "return c[0], c[1]": "step|once|one",
        NEWTON.replace("x.T @ (p - same.double())", "x.T @ (p - same.double()) / len(p)")
        + "return c[0], c[1]": "mean|sum|short",
        NEWTON.replace(").T @ x\n", ").T @ x / len(p)\n") + "return c[0], c[1]": "mean|sum|long",
        NEWTON.replace("(x * (p * (1 - p))[:, None]).T", "x.T @ torch.diag(p * (1 - p))")
        + "return c[0], c[1]": "size|memory",
        NEWTON.replace("torch.ones_like", "torch.zeros_like").replace("linalg.solve(H, g)", "linalg.pinv(H) @ g")
        + "return c[0], c[1]": "offset",
        NEWTON.replace("torch.linalg.solve(H, g)", "g / H.diagonal()") + "return c[0], c[1]": "alone|diagonal|other",
        NEWTON.replace("torch.sigmoid(x @ c)", "torch.tanh(x @ c)") + "return c[0], c[1]": "sigmoid|logistic|tanh",
        "d = similarity[same].mean() - similarity[~same].mean(); m = similarity.mean(); return 4 * d, -4 * d * m": "Newton|numbers",
    },
    "consensus_scores": {
        "torch.maximum(video_query @ video.T, audio_query @ audio.T)": "maximum|larger|union",
        "(video_query @ video.T + audio_query @ audio.T) / 2": "average|mean",
        "video_query @ video.T + audio_query @ audio.T": "sum|average|minimum",
        "(video_query @ video.T) * (audio_query @ audio.T)": "product",
        "video_query @ video.T": "picture|sound",
        "audio_query @ audio.T": "sound|picture",
        "torch.minimum(video_query @ audio.T, audio_query @ video.T)": "pictures.*sounds|across",
        "torch.minimum(video_query @ video.T, audio_query @ audio.T).T": "swap|rows",
        "torch.minimum(video @ video_query.T, audio @ audio_query.T)": "swap|rows",
        "torch.minimum(video_query, audio_query) @ torch.minimum(video, audio).T": "vectors",
        "torch.minimum(video_query @ video.T, video_query @ video.T)": "sound|picture",
        "torch.minimum(video @ video.T, audio @ audio.T)": "query|queries",
        "torch.minimum((video_query @ video.T).abs(), (audio_query @ audio.T).abs())": "abs|sign",
        "torch.minimum(video_query @ video.T, audio_query @ audio.T).clamp(min=0)": "clamp|negative|0",
        "torch.minimum(video_query @ video.T, audio_query @ audio.T).amin(1)": "shape|axis",
        "torch.minimum((video_query @ video.T).softmax(1), (audio_query @ audio.T).softmax(1))": "softmax",
        "-torch.minimum(video_query @ video.T, audio_query @ audio.T)": "sign",
    },
    "top_k_positives": {
        "score.topk(k, 1).indices": "itself|own positives|query",
        "score.topk(k + 1, 1).indices[:, 1:]": "best match|index|query|duplicate",
        "score.argsort(dim=1, descending=True, stable=True)[:, 1:k + 1]": "best match|index|query|duplicate",
        "s = score.clone().fill_diagonal_(0); s.argsort(dim=1, descending=True, stable=True)[:, :k]": "0",
        "s = score.clone().fill_diagonal_(-1); s.argsort(dim=1, descending=True, stable=True)[:, :k]": "-1|infinity",
        "s = score.clone().fill_diagonal_(-torch.inf); s.argsort(dim=1, stable=True)[:, :k]": "worst|least|itself|descending|ascending",
        "s = score.clone().fill_diagonal_(torch.inf); s.argsort(dim=1, stable=True)[:, :k]": "worst|least|descending",
        "s = score.clone().fill_diagonal_(-torch.inf); s.argsort(dim=0, descending=True, stable=True)[:k].T": "axis|row",
        "s = score.clone().fill_diagonal_(-torch.inf); s.argsort(dim=0, descending=True, stable=True)[:, :k]": "axis|row",
        "s = score.clone().fill_diagonal_(-torch.inf); s.topk(k, 1).values": "scores|indices|values|fractions",
        "s = score.clone().fill_diagonal_(-torch.inf); s.argsort(dim=1, descending=True, stable=True)[:, :k].flip(1)": "order|worst first",
        "s = score.clone().fill_diagonal_(-torch.inf); s.flip(1).argsort(dim=1, descending=True, stable=True)[:, :k].mul(-1).add(len(s) - 1)": "tie|higher",
        "score.fill_diagonal_(-torch.inf); score.argsort(dim=1, descending=True, stable=True)[:, :k]": "changed|given|clone",
        "s = score.clone().fill_diagonal_(-torch.inf); s.argsort(dim=1, descending=True, stable=True)[:, 1:k + 1]": "best|first|skip|one",
        "s = score.clone().fill_diagonal_(-torch.inf); s.argsort(dim=1, descending=True, stable=True)[:, :k + 1]": "k|shape",
        "s = score.clone().fill_diagonal_(-torch.inf); s.argsort(dim=1, descending=True, stable=True)": "k|shape",
        "s = score.clone().fill_diagonal_(-torch.inf); s.abs().argsort(dim=1, descending=True, stable=True)[:, :k]": "abs|itself|query",
    },
    "mined_in_blocks": {
        "s = torch.minimum(video @ video.T, audio @ audio.T).fill_diagonal_(-torch.inf); s.argsort(dim=1, descending=True, stable=True)[:, :k]": "table|block",
        "out = []\nfor q in torch.arange(len(video)).split(block):\n  s = torch.minimum(video[q] @ video.T, audio[q] @ audio.T)\n"
        "  s[torch.arange(len(q)), q] = -torch.inf; out.append(s.argsort(dim=1, descending=True, stable=True)[:, :k])\nreturn torch.cat(out)": "table|block",
        IN_BLOCKS.replace("s[q[:, None] == o] = -torch.inf", "pass"): "itself|own positives|query",
        IN_BLOCKS.replace("s[q[:, None] == o] = -torch.inf", "s.fill_diagonal_(-torch.inf)"): "diagonal",
        IN_BLOCKS.replace("torch.cat([best, s], 1)", "torch.cat([s, best], 1)").replace(
            "torch.cat([who, o.expand(len(q), -1)], 1)", "torch.cat([o.expand(len(q), -1), who], 1)"
        ): "tie",
        IN_BLOCKS.replace("torch.minimum(", "torch.maximum("): "maximum|larger|union",
        IN_BLOCKS.replace(
            "o.expand(len(q), -1)", "torch.arange(len(o)).expand(len(q), -1)"
        ): "within a block|instances|begins",
        IN_BLOCKS.replace("torch.cat([best, s], 1)", "s").replace(
            "torch.cat([who, o.expand(len(q), -1)], 1)", "o.expand(len(q), -1)"
        ): "last block|earlier|shape",
        IN_BLOCKS.replace(
            "  for o in torch.arange(len(video)).split(block)", "  for o in [q]"
        ): "own block|every block|shape",
        IN_BLOCKS.replace("descending=True, ", ""): "worst|least|rising|itself",
        IN_BLOCKS.replace(
            "video[q] @ video[o].T, audio[q] @ audio[o].T", "video[q] @ video[o].T, video[q] @ video[o].T"
        ): "sound|audio|first of the two|video",
        IN_BLOCKS.replace("out.append(who)", "out.append(best)"): "scores|fractions|whole",
        IN_BLOCKS.replace(
            "  for o in torch.arange(len(video)).split(block)",
            "  for o in torch.arange(len(video) // block * block).split(block)",
        ): "smaller block|rest|last block|shape",
        IN_BLOCKS.replace("[:, :k]", "[:, 1:k + 1]"): "best|first|skip|one|shape|error",
    },
    "precision_at_k": {
        "(labels[positives] == labels[:, None]).double().sum()": "count|sum",
        "(labels[positives] == labels[:, None]).any(1).double().mean()": "any",
        "(labels[positives] == labels[:, None]).all(1).double().mean()": "all|every",
        "(labels[positives[:, 0]] == labels).double().mean()": "first",
        "(positives == labels[:, None]).double().mean()": "class|instance|label",
        "(labels[positives] == labels[:, None]).double().mean(1)": "one number|quer|mean",
        "(labels[positives] == labels[:, None]).double().mean(0)": "one number|quer|mean|axis|rank",
        "(labels[positives] == labels[:, None]).double().sum(1).mean()": "k|sum|divide",
        "(labels[positives] == labels[:, None]).double().sum() / len(labels)": "k|sum|divide",
        "(labels[positives] != labels[:, None]).double().mean()": "!=|wrong|differ|opposite",
        "(labels[positives] == labels[positives[:, :1]]).double().mean()": "first|query",
        "h = (labels[positives] == labels[:, None]).double().sum(1); (h / labels.bincount()[labels]).mean()": "class|recall",
        "(labels[positives] == labels[:positives.shape[1]]).double().mean()": "wrong query|column|query",
        "(labels[positives] == torch.arange(len(labels))[:, None]).double().mean()": "class|label|instance",
        "100 * (labels[positives] == labels[:, None]).double().mean()": "100|share|cent",
    },
    "cma_negatives": {
        "w = torch.ones(len(index), N); w.scatter_(1, positives[index], 0); torch.multinomial(w, K, True, generator=generator)": "query",
        "w = torch.ones(len(index), N); w.scatter_(1, index[:, None], 0); torch.multinomial(w, K, True, generator=generator)": "positives",
        "torch.randint(N, (len(index), K), generator=generator)": "query|positives",
        "r = torch.randint(N - 1, (len(index), K), generator=generator); r + (r >= index[:, None])": "positives",
        ALLOWED.replace("positives[index]", "positives[index][:, :1]")
        + "torch.multinomial(w, K, True, generator=generator)": "first",
        ALLOWED.replace("positives[index]", "positives[:len(index)]")
        + "torch.multinomial(w, K, True, generator=generator)": "other|index|row|positives",
        ALLOWED + "torch.multinomial(w, K, True)": "generator",
        ALLOWED
        + "generator.manual_seed(0); torch.multinomial(w, K, True, generator=generator)": "seed|same draw|generator",
        ALLOWED + "torch.multinomial(w, K, True, generator=generator).T": "shape",
        ALLOWED
        + "torch.multinomial(w[:1], K, True, generator=generator).expand(len(index), K)": "query|positives|row|same",
        "w = torch.ones(N); w[index] = 0; w[positives[index].flatten()] = 0; torch.multinomial(w.expand(len(index), N), K, True, generator=generator)": "never|all quer",
        "w = torch.zeros(len(index), N).scatter_(1, positives[index], 1); torch.multinomial(w, K, True, generator=generator)": "positives",
        "w = torch.arange(1., N + 1).repeat(len(index), 1); w.scatter_(1, index[:, None], 0).scatter_(1, positives[index], 0)\n"
        "torch.multinomial(w, K, True, generator=generator)": "equally",
        ALLOWED + "torch.multinomial(w[:, :-1], K, True, generator=generator)": "never",
        ALLOWED.replace("positives[index]", "positives")
        + "torch.multinomial(w, K, True, generator=generator)": "index|error|shape|positives",
        ALLOWED + "torch.multinomial(w, K, True, generator=generator).double()": "whole",
    },
    "remined": {
        MINED
        + "return new, epoch, 1 - (new[:, :, None] == positives[:, None]).any(2).double().mean().item()": "every call",
        "return positives, mined_at, 0.0": "never",
        DUE.replace("<", "<=") + MINED + NEW: "more than",
        "if epoch < every: return positives, mined_at, 0.0\n" + MINED + NEW: "from the start|last mining",
        DUE + MINED + NEW.replace("epoch", "mined_at"): "not updated|every later",
        DUE + MINED.replace("-torch.inf", "torch.inf") + NEW: "query",
        DUE + MINED.replace(".fill_diagonal_(-torch.inf)", "") + NEW: "query",
        DUE + MINED.replace("minimum", "maximum") + NEW: "maximum|minimum|smaller",
        DUE + MINED + "return new, epoch, (new != positives).double().mean().item()": "rank|place",
        DUE + MINED + NEW.replace("1 - ", ""): "old",
        DUE + MINED + "return new, epoch, 1 - torch.isin(new, positives).double().mean().item()": "any.*query|own row",
        DUE
        + MINED.replace("torch.minimum(video @ video.T, audio @ audio.T)", "(video @ video.T)")
        + NEW: "picture|video|audio|sound",
    },
    "within_positive_loss": {
        TERMS + "(F.softplus(c - p).sum(1) + F.softplus(n - c).sum(1)).mean()": "positives.*sum|sum.*positives",
        TERMS
        + "(F.softplus(c - p).mean(1) + F.softplus(n - c).mean(1)).mean()": "negatives.*(averag|mean)|(averag|mean).*negatives",
        TERMS + "(F.softplus(c - p).mean(1) + F.softplus(n - c).sum(1)).sum()": "batch|queries",
        TERMS + "(F.softplus(c - p).mean(1) + F.softplus(n - c).sum(1))": "one number|mean",
        TERMS + "F.softplus(c - p).mean()": "negatives",
        TERMS + "F.softplus(n - c).sum(1).mean()": "positives",
        TERMS + "-(F.softplus(c - p).mean(1) + F.softplus(n - c).sum(1)).mean()": "sign|minus",
        TERMS + "(F.softplus(p - c).mean(1) + F.softplus(n - c).sum(1)).mean()": "sign|minus|order|subtract|revers",
        TERMS + "(F.softplus(c - p.mean(1)) + F.softplus(n - c).sum(1)).mean()": "averag|mean",
        TERMS + "(F.softplus(c - p.amax(1)) + F.softplus(n - c).sum(1)).mean()": "best|max|averag|mean",
        TERMS.replace("K = negatives.shape[1]", "K = positives.shape[1]")
        + "(F.softplus(c - p).mean(1) + F.softplus(n - c).sum(1)).mean()": "K|positives",
        TERMS.replace("K = negatives.shape[1]", "K = 1")
        + "(F.softplus(c - p).mean(1) + F.softplus(n - c).sum(1)).mean()": "K",
        TERMS.replace("+ torch.as_tensor(Z).log()", "")
        + "(F.softplus(c - p).mean(1) + F.softplus(n - c).sum(1)).mean()": "Z",
        TERMS.replace(".log()", "") + "(F.softplus(c - p).mean(1) + F.softplus(n - c).sum(1)).mean()": "log",
        TERMS.replace(" / temperature", "")
        + "(F.softplus(c - p).mean(1) + F.softplus(n - c).sum(1)).mean()": "temperature",
        TERMS.replace(" / temperature", " * temperature")
        + "(F.softplus(c - p).mean(1) + F.softplus(n - c).sum(1)).mean()": "temperature",
        TERMS.replace(" / temperature", "", 1)
        + "(F.softplus(c - p).mean(1) + F.softplus(n - c).sum(1)).mean()": "temperature",
        TERMS.replace("video_memory[positives]", "video_memory[positives[:, :1]]")
        + "(F.softplus(c - p).mean(1) + F.softplus(n - c).sum(1)).mean()": "first",
        TERMS.replace("video, video_memory[positives]", "video, video[:, None].expand(-1, 3, -1)")
        + "(F.softplus(c - p).mean(1) + F.softplus(n - c).sum(1)).mean()": "itself|query|positives|memory|v",
        TERMS + "(torch.logaddexp(p, n.logsumexp(1, keepdim=True)) - p).mean()": "softmax",
        "video = video.detach()\n"
        + TERMS
        + "(F.softplus(c - p).mean(1) + F.softplus(n - c).sum(1)).mean()": "detach|gradient",
    },
    "my_loss": {
        "(positive.mean(1) - negative.mean(1)).mean()": "wrong way|sign|raising",
        "-positive.mean()": "negatives",
        "negative.logsumexp(1).mean()": "positives",
        "negative.logsumexp(1) - positive.mean(1)": "one number",
        "(negative.logsumexp(1) - positive.mean(1)).sum()": "summed|size",
        "(negative.exp().sum(1).square().square().log() - positive.mean(1)).mean()": "NaN|infinite",
        "-(positive.exp() / (positive.exp() + negative.exp().sum(1, keepdim=True))).log().mean()": "NaN|infinite",
        "(negative[:, 0] - positive.mean(1)).mean()": "order|one negative",
        "(negative.logsumexp(1) - positive.mean(1))[0]": "first query|order of the queries|queries|batch",
        "F.softplus(negative.mean(1) - positive[:, 0]).mean()": "first positive|positives|order",
        "(negative.mean(1) - positive.mean(1)).mean().item()": "item|gradient",
        "(negative.detach().mean(1) - positive.mean(1)).mean()": "negatives",
        "negative.mean(1)[0] - positive.mean()": "order|quer|batch",
        "(negative.mean() - positive.mean()).log()": "NaN|infinite",
        "positive.logsumexp(1).mean() - negative.logsumexp(1).mean()": "wrong way|raising",
        "positive + undefined": "undefined|error",
    },
    "queue_step": {
        "s = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], 1) / temperature\n"
        f"({QUEUE_LOSS}, torch.cat([queue, key])[len(key):])": "detach|gradient",
        QUEUE + f"({QUEUE_LOSS}, torch.cat([queue, key])[:len(queue)])": "stays|oldest|leave",
        QUEUE + f"({QUEUE_LOSS}, torch.cat([key, queue])[:len(queue)])": "end|front|order|oldest",
        QUEUE + f"({QUEUE_LOSS}, torch.cat([key, queue[len(key):]]))": "stood|move|end|order",
        QUEUE + f"({QUEUE_LOSS}, torch.cat([queue, key]))": "grows|shape",
        QUEUE + f"({QUEUE_LOSS}, queue)": "stays|after",
        QUEUE + f"{QUEUE_LOSS}": "only the first|tuple|two",
        QUEUE + "((s.logsumexp(1) - s[:, 0]).sum(), torch.cat([queue, key])[len(key):])": "sum|averag|mean",
        QUEUE
        + "((s[:, 1:].logsumexp(1) - s[:, 0]).mean(), torch.cat([queue, key])[len(key):])": "choices|right answer|missing",
        QUEUE + f"s = s * temperature; ({QUEUE_LOSS}, torch.cat([queue, key])[len(key):])": "temperature",
        QUEUE + f"s = s * temperature ** 2; ({QUEUE_LOSS}, torch.cat([queue, key])[len(key):])": "temperature|multipl",
        "key = key.detach(); queue = torch.cat([queue, key])[len(key):]\n"
        "s = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], 1) / temperature\n"
        f"({QUEUE_LOSS}, queue)": "before|own key",
        "key = key.detach(); s = torch.cat([query @ key.T, query @ queue.T], 1) / temperature\n"
        "(F.cross_entropy(s, torch.arange(len(s))), torch.cat([queue, key])[len(key):])": "batch|other keys",
        QUEUE + f"({QUEUE_LOSS}, torch.cat([queue, query.detach()])[len(key):])": "quer",
        QUEUE + f"s = s.detach(); ({QUEUE_LOSS}, torch.cat([queue, key])[len(key):])": "detach|gradient",
        QUEUE
        + "(F.cross_entropy(s, torch.ones(len(s), dtype=torch.long)), torch.cat([queue, key])[len(key):])": "column|target|differ",
    },
    "recall_at_k": {
        "((score.T >= score.diagonal()[:, None]).sum(1) <= k).double().mean()": "swap|column|quer",
        "((score >= score.diagonal()).sum(1) <= k).double().mean()": "axis|column|quer|row",
        "((score >= score.diagonal()[:, None]).sum(0) <= k).double().mean()": "axis|column|quer|row",
        "((score <= score.diagonal()[:, None]).sum(1) <= k).double().mean()": "lowest|<|revers",
        "((score >= score.diagonal()[:, None]).sum(1) <= k + 1).double().mean()": "k \\+ 1|one more|off by one|<=",
        "((score >= score.diagonal()[:, None]).sum(1) < k).double().mean()": "itself|rival|rank k",
        "((score > score.diagonal()[:, None]).sum(1) < k).double().mean()": "tie|equal|>=",
        "((score > score.diagonal()[:, None]).sum(1) <= k).double().mean()": "tie|equal|>=|k \\+ 1",
        "((score >= score.diagonal()[:, None]).sum(1) <= k).double().sum()": "count|share|sum",
        "((score >= score.diagonal()[:, None]).sum(1) <= k).double().mean() / k": "k",
        "((score >= score.diagonal()[:, None]).sum(1) <= 1).double().mean()": "k|recall@1",
        "((score >= score.diagonal()[:, None]).sum(1) == k).double().mean()": "rank|==|exactly|only",
        "((score >= score.diagonal()[:, None]).sum(1) > k).double().mean()": "revers|>=|miss|not|<=",
        "(score >= score.diagonal()[:, None]).sum(1).double().mean()": "rank|k|share|compar",
        "((score >= score.diagonal()[:, None]).double().mean(1) <= k).double().mean()": "mean|sum|number",
        "((score >= score.diagonal()[:, None]).sum(1) <= k).double()": "one number|mean|shape",
        "100 * ((score >= score.diagonal()[:, None]).sum(1) <= k).double().mean()": "100|share|cent",
        "(score.argmax(1) == torch.arange(len(score))).double().mean()": "k|recall@1",
        "(score.topk(k, 0).indices == torch.arange(len(score))).any(0).double().mean()": "swap|column|axis|quer",
    },
    "knn_predict": {
        "s = test @ train.T; train_labels[s.topk(k).indices].mode(1).values": "normali",
        "s = F.normalize(test, dim=0) @ F.normalize(train, dim=0).T; train_labels[s.topk(k).indices].mode(1).values": "axis",
        "s = -torch.cdist(test, train); train_labels[s.topk(k).indices].mode(1).values": "normali|distance|cosine",
        SIM + "train_labels[s.topk(k, largest=False).indices].mode(1).values": "farthest|smallest",
        "s = torch.cdist(F.normalize(test, dim=1), F.normalize(train, dim=1)); train_labels[s.topk(k).indices].mode(1).values": "farthest|distance|smallest",
        SIM + "train_labels[s.argmax(1)]": "nearest",
        SIM + "train_labels[s.topk(k).indices[:, 0]]": "nearest",
        SIM + "s.topk(k).indices[:, 0]": "classes|clips",
        SIM + "s.topk(k).indices": "shape|classes|clips",
        SIM + "train_labels[s.topk(k).indices].double().mean(1).round().long()": "averag|mean",
        SIM + "train_labels[s.topk(k).indices].median(1).values": "median|vote|averag",
        SIM + "train_labels[s.topk(k).indices]": "shape|vote",
        SIM + "w, i = s.topk(k); torch.zeros(len(test), 9).scatter_add_(1, train_labels[i], w).argmax(1)": "weight",
        SIM + "c = F.one_hot(train_labels[s.topk(k).indices], 9).sum(1); 8 - c.flip(1).argmax(1)": "tie|higher",
        SIM + "c = F.one_hot(train_labels[s.topk(k).indices], 9).sum(1); near = train_labels[s.argmax(1)]\n"
        "torch.where(c.gather(1, near[:, None])[:, 0] == c.amax(1), near, c.argmax(1))": "tie|nearest",
        SIM + "train_labels[s.topk(k + 1).indices[:, 1:]].mode(1).values": "nearest|first|k \\+ 1",
        SIM + "F.one_hot(train_labels[s.topk(k).indices], 9).sum(1).amax(1)": "count|argmax|number of votes",
        SIM + "F.one_hot(train_labels[s.topk(k).indices], 9).sum(1).argmin(1)": "least|argmin|fewest|smallest",
        SIM + "F.one_hot(train_labels[s.topk(k).indices], 9).sum(0).argmax(1)": "axis|shape",
        "s = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T; train_labels[s.topk(k, dim=0).indices].mode(0).values": "axis|shape|error",
    },
    "linear_probe_step": {
        PROBE
        + "g = (p - y) / B; weight + learning_rate * g.T @ x, bias + learning_rate * g.sum(0)": "uphill|sign|subtract|add",
        PROBE + "g = p - y; weight - learning_rate * g.T @ x, bias - learning_rate * g.sum(0)": "batch|averag|sum",
        PROBE + "g = p - y; weight - learning_rate * g.T @ x / B, bias - learning_rate * g.sum(0)": "bias|batch|averag",
        PROBE + "g = (p - y) / B; weight - learning_rate * g.T @ x, bias": "bias",
        PROBE
        + "g = (p - y) / B; weight - learning_rate * g.T @ x, bias - learning_rate * g.mean(0)": "bias|mean|averag",
        PROBE + "g = (p - y) / B; weight, bias - learning_rate * g.sum(0)": "weight",
        PROBE + "g = (p - y) / B; learning_rate * g.T @ x, learning_rate * g.sum(0)": "step|old|change",
        PROBE + "g = (p - y) / B; -learning_rate * g.T @ x, -learning_rate * g.sum(0)": "step|old|change",
        PROBE + "g = (p - y) / B; weight - g.T @ x, bias - g.sum(0)": "learning.rate",
        PROBE.replace("softmax(1)", "softmax(0)")
        + "g = (p - y) / B; weight - learning_rate * g.T @ x, bias - learning_rate * g.sum(0)": "softmax|axis",
        PROBE.replace(".softmax(1)", "")
        + "g = (p - y) / B; weight - learning_rate * g.T @ x, bias - learning_rate * g.sum(0)": "softmax",
        PROBE.replace(" + bias", "")
        + "g = (p - y) / B; weight - learning_rate * g.T @ x, bias - learning_rate * g.sum(0)": "bias",
        PROBE.replace(".softmax(1)", ".sigmoid()")
        + "g = (p - y) / B; weight - learning_rate * g.T @ x, bias - learning_rate * g.sum(0)": "sigmoid|softmax",
        PROBE
        + "g = (p - y) / y.shape[1]; weight - learning_rate * g.T @ x, bias - learning_rate * g.sum(0)": "batch|B|classes|axis",
        PROBE + "g = p / B; weight - learning_rate * g.T @ x, bias - learning_rate * g.sum(0)": "truth|label|one_hot",
        PROBE
        + "g = (p - y) / B; bias - learning_rate * g.sum(0), weight - learning_rate * g.T @ x": "order|swap|shape",
        PROBE
        + "g = (p - y) / B; weight -= learning_rate * g.T @ x; bias -= learning_rate * g.sum(0); weight, bias": "place|given",
        "w = weight.clone().requires_grad_(); b = bias.clone().requires_grad_(); F.cross_entropy((features @ w.T + b).softmax(1), labels).backward()\n"
        "(weight - learning_rate * w.grad, bias - learning_rate * b.grad)": "softmax",
        "w = weight.clone().requires_grad_(); b = bias.clone().requires_grad_(); F.cross_entropy(features @ w.T + b, labels, reduction='sum').backward()\n"
        "(weight - learning_rate * w.grad, bias - learning_rate * b.grad)": "batch|averag|sum",
    },
    "ridge_probe": {
        EXAMINED.replace("; I[-1, -1] = 0", ""): "bias|free",
        EXAMINED.replace("torch.ones(len(t), 1)", "torch.zeros(len(t), 1)").replace(
            "; I[-1, -1] = 0", ""
        ): "bias|free|mean",
        EXAMINED.replace("p * I", "p * len(x) * I"): "number of clips|averaged|multiplied",
        EXAMINED.replace("p * I", "p / len(x) * I"): "number of clips|averaged|divided",
        EXAMINED.replace("p * I", "p * p * I"): "squar|twice",
        EXAMINED.replace("f(train[~held], Y[~held], p, train[held])", "f(train, Y, p, train[held])"): "held",
        EXAMINED.replace(
            "train[held]).argmax(1) == labels[held]", "train[~held]).argmax(1) == labels[~held]"
        ): "fitted|held",
        EXAMINED.replace("f(train, Y, best, test)", "f(train[~held], Y[~held], best, test)"): "final|all|leaves out",
        EXAMINED.replace("n.argmax()", "n.argmin()"): "worst|most|smallest|least",
        EXAMINED.replace("penalties[n.argmax()]", "penalties[len(n) - 1 - n.flip(0).argmax()]"): "equals|last",
        EXAMINED.replace("f(train, Y, best, test), best", "f(train, Y, best, test).argmax(1), best"): "scores|classes",
        EXAMINED.replace("f(train, Y, best, test), best", "f(train, Y, best, test).softmax(1), best"): "softmax",
        EXAMINED.replace("f(train, Y, best, test), best", "f(train, 2 * Y - 1, best, test), best"): "-1",
        EXAMINED.replace("f(train, Y, best, test), best", "best, f(train, Y, best, test)"): "order|swap|type|shape",
        EXAMINED.replace("f(train, Y, best, test), best", "f(test, Y[:len(test)], best, test), best"): "",
    },
    "info_nce": {
        SCORE + "F.cross_entropy(s, i)": "only pictures|one direction|both|score\\.T|sounds ask",
        SCORE + "F.cross_entropy(s.T, i)": "only sounds|one direction|both",
        SCORE + "F.cross_entropy(s, i) + F.cross_entropy(s.T, i)": "sum",
        SCORE
        + "(F.cross_entropy(s, i) + F.cross_entropy(s, i)) / 2": "only pictures|one direction|both|score\\.T|sounds ask",
        SCORE.replace(" / temperature", "") + "(F.cross_entropy(s, i) + F.cross_entropy(s.T, i)) / 2": "temperature",
        SCORE.replace(" / temperature", " * temperature")
        + "(F.cross_entropy(s, i) + F.cross_entropy(s.T, i)) / 2": "temperature",
        SCORE.replace(" / temperature", " / temperature ** 2")
        + "(F.cross_entropy(s, i) + F.cross_entropy(s.T, i)) / 2": "temperature",
        SCORE.replace("audio.T", "video.T")
        + "(F.cross_entropy(s, i) + F.cross_entropy(s.T, i)) / 2": "pictures|within|modality|audio",
        SCORE + "(F.cross_entropy(s, i, reduction='sum') + F.cross_entropy(s.T, i, reduction='sum')) / 2": "batch|sum",
        SCORE + "(F.cross_entropy(s.softmax(1), i) + F.cross_entropy(s.T.softmax(1), i)) / 2": "softmax",
        SCORE + "-(F.cross_entropy(s, i) + F.cross_entropy(s.T, i)) / 2": "sign|minus",
        SCORE + "(F.cross_entropy(s, i) + F.cross_entropy(s.T, i)) / 2 * temperature": "temperature",
        SCORE + "(F.cross_entropy(s, i) + F.cross_entropy(s.T, i)).detach() / 2": "detach|gradient",
        "audio = audio.detach()\n" + SCORE + "(F.cross_entropy(s, i) + F.cross_entropy(s.T, i)) / 2": "detach",
        SCORE
        + "-s.log_softmax(1).diagonal().mean() / 2 - s.log_softmax(1).diagonal().mean() / 2": "only pictures|one direction|both|score\\.T|sounds ask",
        SCORE
        + "-s.softmax(1).diagonal().mean().log() / 2 - s.softmax(0).diagonal().mean().log() / 2": "log.*mean|mean.*log",
        SCORE + "-s.diagonal().mean()": "positive|wrong pairs|negatives|denominator|right pairs",
        SCORE + "s.flatten().logsumexp(0) - s.diagonal().mean()": "one softmax|all pairs",
        SCORE
        + "e = s.masked_fill(torch.eye(len(s)).bool(), -torch.inf); (e.logsumexp(1) + e.logsumexp(0)).mean() / 2 - s.diagonal().mean()": "denominator|positive",
        SCORE + "s.logsumexp(1) - s.diagonal()": "one number|mean",
    },
    "sigmoid_loss": {
        SIGN + "-F.logsigmoid(y * s / temperature).sum() / len(s)": "bias",
        SIGN + "-F.logsigmoid(y * (s / temperature) + bias).sum() / len(s)": "bias",
        SIGN + "-F.logsigmoid(y * (s / temperature - bias)).sum() / len(s)": "bias",
        SIGN + "-F.logsigmoid(y * (s + bias) / temperature).sum() / len(s)": "bias|temperature",
        SIGN + "-F.logsigmoid(y * (s * temperature + bias)).sum() / len(s)": "temperature",
        SIGN + "-F.logsigmoid(y * (s + bias)).sum() / len(s)": "temperature",
        SIGN + "-F.logsigmoid(y * (s / temperature + bias)).sum()": "batch|B|divide",
        SIGN + "-F.logsigmoid(y * (s / temperature + bias)).mean()": "pairs|B|mean",
        SIGN + "F.logsigmoid(y * (s / temperature + bias)).sum() / len(s)": "sign|minus",
        SIGN + "-F.logsigmoid(-y * (s / temperature + bias)).sum() / len(s)": "sign",
        SIGN + "-F.logsigmoid(s / temperature + bias).sum() / len(s)": "sign|diagonal|right",
        SIGN + "-F.logsigmoid(s / temperature + bias).diagonal().mean()": "right pairs|diagonal|wrong pairs",
        SIGN + "-torch.sigmoid(y * (s / temperature + bias)).sum() / len(s)": "log",
        SIGN + "-torch.sigmoid(y * (s / temperature + bias)).sum().log() / len(s)": "log",
        SIGN + "-F.logsigmoid(y * (s / temperature + bias)).sum(1)": "one number|mean",
        SIGN.replace("audio.T", "video.T")
        + "-F.logsigmoid(y * (s / temperature + bias)).sum() / len(s)": "pictures|within|modality|audio",
        SIGN.replace("2 * torch.eye(len(video)) - 1", "torch.eye(len(video))")
        + "-F.logsigmoid(y * (s / temperature + bias)).sum() / len(s)": "wrong pairs|-1|sign",
        "s = video @ audio.T / temperature + bias; F.binary_cross_entropy_with_logits(s, torch.eye(len(s)))": "pairs|B|mean",
        "s = video @ audio.T / temperature + bias; F.cross_entropy(s, torch.arange(len(s)))": "softmax",
        "video = video.detach()\n" + SIGN + "-F.logsigmoid(y * (s / temperature + bias)).sum() / len(s)": "detach",
    },
    "robust_weights": {
        "s = similarity.detach(); z = (s - s.mean()) / s.std(); floor + (1 - floor) * torch.special.ndtr(z)": "B - 1|unbiased|correction|divided by B",
        "s = similarity.detach(); z = (s - s.mean()) / s.var(correction=0); floor + (1 - floor) * torch.special.ndtr(z)": "variance",
        "s = similarity.detach(); z = s / s.std(correction=0); floor + (1 - floor) * torch.special.ndtr(z)": "mean",
        "s = similarity.detach(); z = s - s.mean(); floor + (1 - floor) * torch.special.ndtr(z)": "deviation|divide|std",
        "s = similarity.detach(); floor + (1 - floor) * torch.special.ndtr(s)": "mean|deviation|standard",
        "s = similarity.detach(); z = (s.mean() - s) / s.std(correction=0); floor + (1 - floor) * torch.special.ndtr(z)": "sign|revers|match",
        Z_OF + "floor + torch.special.ndtr(z)": "rescal|1 - floor|exceed",
        Z_OF + "torch.special.ndtr(z)": "floor",
        Z_OF + "torch.special.ndtr(z).clamp(min=floor)": "clamp|clip|rescal",
        Z_OF + "(1 - floor) * torch.special.ndtr(z)": "floor",
        Z_OF + "(1 - floor) + floor * torch.special.ndtr(z)": "floor",
        Z_OF + "floor + (1 - floor) * torch.sigmoid(z)": "logistic|sigmoid",
        Z_OF + "floor + (1 - floor) * torch.erf(z)": "erf|normal",
        Z_OF + "floor + (1 - floor) * z": "normal|ndtr",
        Z_OF.replace(".detach()", "") + "floor + (1 - floor) * torch.special.ndtr(z)": "gradient|detach|constant",
        Z_OF.replace("s.mean()", "s.median()") + "floor + (1 - floor) * torch.special.ndtr(z)": "median|mean",
        Z_OF + "(floor + (1 - floor) * torch.special.ndtr(z)).mean()": "shape|one|mean",
        Z_OF + "floor + (1 - floor) * torch.special.ndtr(-z)": "sign|revers|match",
        Z_OF + "w = floor + (1 - floor) * torch.special.ndtr(z); w / w.sum()": "sum|normali",
        "s = similarity.detach(); floor + (1 - floor) * s.argsort().argsort() / (len(s) - 1)": "rank|normal",
    },
    "split_without_leaks": {
        "torch.arange(len(recordings)) < int(share * len(recordings))": "one by one|recording",
        LEAKS.replace("links = copies.tolist()", "links = []") + FILL: "copies",
        LEAKS.replace("links += [(i, j) for i in range(N) for j in range(i) if recordings[i] == recordings[j]]\n", "")
        + FILL: "recordings",
        "t = recordings[:, None] == recordings; t[copies[:, 0], copies[:, 1]] = t[copies[:, 1], copies[:, 0]] = True\n"
        "N = len(t); first = t.int().argmax(1).tolist()\n" + FILL: "one step|friend|repeat|chain",
        LEAKS
        + FILL.replace(
            "if size <= room: held.append(g); room -= size", "if size > room: break\n  held.append(g); room -= size"
        ): "first group that does not fit|skip|stops",
        LEAKS + FILL.replace("if size <= room", "if room > 0"): "more than",
        LEAKS + FILL.replace("size <= room", "size < room"): "exactly|at most|one more|one fewer",
        LEAKS
        + "g = sorted(set(first)); held = g[:int(share * len(g))]\nreturn [f in held for f in first]": "share of the groups|groups",
        LEAKS
        + FILL.replace("sorted(set(first))", "sorted(set(first), key=lambda g: (-first.count(g), g))"): "order|largest",
        LEAKS
        + FILL.replace("sorted(set(first))", "sorted(set(first), key=lambda g: (first.count(g), g))"): "order|smallest",
        LEAKS + FILL.replace("g in held", "g not in held"): "training|opposite|other",
        LEAKS
        + FILL.replace(
            "return [g in held for g in first]", "return torch.tensor([i for i, g in enumerate(first) if g in held])"
        ): "numbers|shape|True",
        LEAKS + FILL.replace("sorted(set(first))", "sorted(set(first), key=lambda g: int(recordings[g]))"): "order",
    },
}
