"""Answers of a class of thirty, written from the notebooks' text alone: right, wrong, and left open by the text.

Each has its exercise, its kind ("right", "wrong", "open"), words (why it is right, or the mistake), the body that stands in
the place of ``...``, code before the decorator, and the first line of the function if it is another than the exercise's.
"""

import inspect
import math
import textwrap

import numpy as np
import torch
import torch.nn.functional as F

import avid_lab
from avid_lab.course.exercises import EXERCISES

ANSWERS = []


def _add(kind, exercise, words, body, before="", head=""):
    """head: another first line of the function than the starting cell's."""
    body = textwrap.dedent(body).strip("\n")
    number = 1 + sum(a["exercise"] == exercise for a in ANSWERS)
    ANSWERS.append(
        dict(
            id=f"{exercise}-{number:02d}",
            exercise=exercise,
            head=head,
            kind=kind,
            words=words,
            body=body,
            before=textwrap.dedent(before).strip("\n"),
        )
    )


def right(*a, **k):
    _add("right", *a, **k)


def wrong(*a, **k):
    _add("wrong", *a, **k)


def open_(*a, **k):
    _add("open", *a, **k)


# ------------------------------------------------------------------ 01 log_spectrogram_bins
E = "log_spectrogram_bins"
right(
    E,
    "slices instead of unflatten, 20 log10 of the root, where instead of clamp",
    """
    pairs = 0.5 * (power[:, 1::2] + power[:, 2::2])
    amplitude = torch.sqrt(torch.cat((power[:, 0:1], pairs), dim=-1).clamp(min=1e-30))
    db = 20 * torch.log10(amplitude)
    floor = db.max() - 100
    return torch.where(db < floor, floor, db)
""",
)
right(
    E,
    "average pooling, the floor applied to the power",
    """
    rest = F.avg_pool1d(power[:, 1:].unsqueeze(1), kernel_size=2).squeeze(1)
    out = torch.hstack([power[:, :1], rest])
    return 10 * torch.log10(torch.maximum(out, out.max() * 1e-10))
""",
)
right(
    E,
    "numpy and a loop over bins",
    """
    p = power.numpy()
    cols = [p[:, 0]]
    for f in range(1, p.shape[1], 2):
        cols.append((p[:, f] + p[:, f + 1]) / 2)
    x = np.stack(cols, axis=1)
    x = np.maximum(x, x.max() * 10 ** -10)
    return torch.from_numpy(10 * np.log10(x))
""",
    before="import numpy as np\n",
)
wrong(
    E,
    "averages the decibels, not the power",
    """
    db = 10 * power.clamp(min=1e-20).log10()
    pairs = db[:, 1:].unflatten(1, (-1, 2)).mean(-1)
    out = torch.cat([db[:, :1], pairs], dim=1)
    return out.clamp(min=out.max() - 100)
""",
)
wrong(
    E,
    "20 log10: takes the power for an amplitude",
    """
    pairs = power[:, 1:].reshape(len(power), -1, 2).mean(2)
    x = torch.cat([power[:, :1], pairs], 1).clamp(min=1e-12)
    db = 20 * torch.log10(x)
    return db.clamp(min=float(db.max()) - 100)
""",
)
wrong(
    E,
    "a floor at -100 dB absolute instead of 100 dB below the loudest",
    """
    pairs = power[:, 1:].unflatten(1, (-1, 2)).mean(-1)
    x = torch.cat([power[:, :1], pairs], dim=1)
    return (10 * x.log10()).clamp(min=-100)
""",
)
wrong(
    E,
    "the loudest value of each frame instead of the whole spectrogram",
    """
    pairs = power[:, 1:].unflatten(1, (-1, 2)).mean(-1)
    x = torch.cat([power[:, :1], pairs], dim=1).clamp(min=1e-20)
    db = 10 * x.log10()
    return torch.maximum(db, db.amax(dim=1, keepdim=True) - 100)
""",
)
wrong(
    E,
    "pairs from the lowest bin on and keeps the highest alone",
    """
    pairs = power[:, :-1].unflatten(1, (-1, 2)).mean(-1)
    x = torch.cat([pairs, power[:, -1:]], dim=1).clamp(min=1e-20)
    db = 10 * x.log10()
    return db.clamp(min=db.max() - 100)
""",
)
wrong(
    E,
    "moves the loudest to 0 dB",
    """
    pairs = (power[:, 1::2] + power[:, 2::2]) / 2
    x = torch.cat([power[:, :1], pairs], dim=1)
    x = x / x.max()
    return 10 * x.clamp(min=1e-10).log10()
""",
)

# ------------------------------------------------------------------ 02 nce_loss
E = "nce_loss"
right(
    E,
    "the equation as typed",
    """
    K = negative.shape[1]
    yes = positive.exp() / (positive.exp() + K * Z)
    no = K * Z / (negative.exp() + K * Z)
    return (-yes.log().sum(1) - no.log().sum(1)).mean()
""",
)
right(
    E,
    "binary cross-entropy of K + 1 logits, a sum divided by B",
    """
    B, K = negative.shape
    logits = torch.cat((positive, negative), dim=1) - torch.log(torch.as_tensor(K * Z))
    target = torch.zeros_like(logits)
    target[:, 0] = 1
    return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / B
""",
)
right(
    E,
    "a loop over the queries with a helper",
    """
    total = 0
    for b in range(len(positive)):
        total = total + one(positive[b, 0], negative[b], Z)
    return total / len(positive)
""",
    before="""
    def one(p, n, Z):
        c = len(n) * Z
        return torch.log(1 + c * torch.exp(-p)) + torch.log(1 + torch.exp(n) / c).sum()
""",
)
wrong(
    E,
    "mean over the negatives instead of their sum",
    """
    KZ = negative.shape[1] * Z
    yes = torch.exp(positive) / (torch.exp(positive) + KZ)
    no = KZ / (torch.exp(negative) + KZ)
    return -torch.log(yes).mean() - torch.log(no).mean()
""",
)
wrong(
    E,
    "forgets K in K Z",
    """
    yes = positive.exp() / (positive.exp() + Z)
    no = Z / (negative.exp() + Z)
    return (-yes.log().sum(1) - no.log().sum(1)).mean()
""",
)
wrong(
    E,
    "K is taken from the batch axis",
    """
    K = len(negative)
    x = math.log(K * Z)
    return (F.softplus(x - positive).squeeze(1) + F.softplus(negative - x).sum(1)).mean()
""",
)
wrong(
    E,
    "negatives are asked P(real), too (numerator e^s instead of K Z)",
    """
    K = negative.shape[1]
    yes = positive.exp() / (positive.exp() + K * Z)
    no = negative.exp() / (negative.exp() + K * Z)
    return (-yes.log().sum(1) - no.log().sum(1)).mean()
""",
)
wrong(
    E,
    "second term with a plus sign: negatives are rewarded for being real",
    """
    K = negative.shape[1]
    first = -torch.log(positive.exp() / (positive.exp() + K * Z))
    second = torch.log(K * Z / (negative.exp() + K * Z)).sum(1, keepdim=True)
    return (first + second).mean()
""",
)
wrong(
    E,
    "softmax over the 1 + K scores instead of NCE",
    """
    logits = torch.cat([positive, negative], 1)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
""",
)
wrong(
    E,
    "two mistakes: no K, and the sum over the batch instead of the mean",
    """
    yes = torch.sigmoid(positive - math.log(Z))
    no = torch.sigmoid(math.log(Z) - negative)
    return -(yes.log().sum() + no.log().sum())
""",
)

# ------------------------------------------------------------------ 02 partition_constant
E = "partition_constant"
right(
    E,
    "under no_grad, as a Python number",
    """
    with torch.no_grad():
        total = 0.0
        for row in negative:
            total += row.exp().sum().item()
        return total / negative.numel()
""",
)
right(
    E,
    "exp of logsumexp",
    """
    flat = negative.detach().flatten()
    return torch.exp(torch.logsumexp(flat, 0) - math.log(flat.numel()))
""",
)
wrong(
    E,
    "mean before exp",
    """
    return torch.exp(negative.mean()).detach()
""",
)
wrong(
    E,
    "the gradient flows into Z",
    """
    return torch.exp(negative).mean()
""",
)
wrong(
    E,
    "one Z for each query",
    """
    return negative.detach().exp().mean(dim=1, keepdim=True)
""",
)
wrong(
    E,
    "sum over the negatives, mean over the queries (K times too large)",
    """
    return negative.exp().sum(1).mean().detach()
""",
)
wrong(
    E,
    "returns log Z",
    """
    n = negative.detach()
    return n.logsumexp(dim=(0, 1)) - math.log(n.shape[0] * n.shape[1])
""",
)

# ------------------------------------------------------------------ 02 nce_gradient
E = "nce_gradient"
right(
    E,
    "loop over the others, projection as a matrix",
    """
    K, D = others.shape
    def real(s):
        return s.exp() / (s.exp() + K * Z)
    g = -(1 - real(note @ query / temperature)) * note
    for other in others:
        g = g + real(other @ query / temperature) * other
    P = torch.eye(D, dtype=query.dtype) - torch.outer(query, query)
    return P @ g / temperature
""",
)
right(
    E,
    "projects every note first, then weighs",
    """
    KZ = len(others) * Z
    keys = torch.cat([note[None], others])
    s = torch.mv(keys, query) / temperature
    p = 1 / (1 + KZ * torch.exp(-s))
    p[0] -= 1
    flat = keys - torch.outer(keys @ query, query)
    return torch.einsum("k,kd->d", p, flat) / temperature
""",
)
wrong(
    E,
    "forgets the last step, the projection on the sphere",
    """
    c = math.log(len(others) * Z)
    pull = 1 - torch.sigmoid(note @ query / temperature - c)
    push = torch.sigmoid(others @ query / temperature - c)
    return (push @ others - pull * note) / temperature
""",
)
wrong(
    E,
    "forgets the factor 1 / T of the chain rule",
    """
    c = math.log(len(others) * Z)
    pull = 1 - torch.sigmoid(note @ query / temperature - c)
    push = torch.sigmoid(others @ query / temperature - c)
    g = push @ others - pull * note
    return g - (g @ query) * query
""",
)
wrong(
    E,
    "returns the direction of descent (sign)",
    """
    c = math.log(len(others) * Z)
    pull = 1 - torch.sigmoid(note @ query / temperature - c)
    push = torch.sigmoid(others @ query / temperature - c)
    g = (pull * note - push @ others) / temperature
    return g - torch.dot(g, query) * query
""",
)
wrong(
    E,
    "pulls with P(real) instead of 1 - P(real)",
    """
    c = torch.log(torch.tensor(len(others) * float(Z)))
    pull = torch.sigmoid(note @ query / temperature - c)
    push = torch.sigmoid(others @ query / temperature - c)
    g = ((push[:, None] * others).sum(0) - pull * note) / temperature
    return g - (g @ query) * query
""",
)
wrong(
    E,
    "the scores are not divided by the temperature (only the gradient is)",
    """
    c = math.log(len(others) * Z)
    pull = 1 - torch.sigmoid(note @ query - c)
    push = torch.sigmoid(others @ query - c)
    g = (push @ others - pull * note) / temperature
    return g - (g @ query) * query
""",
)
wrong(
    E,
    "mean of the pushes instead of their sum",
    """
    c = math.log(len(others) * Z)
    pull = 1 - torch.sigmoid(note @ query / temperature - c)
    push = torch.sigmoid(others @ query / temperature - c)
    g = ((push[:, None] * others).mean(0) - pull * note) / temperature
    return g - (g @ query) * query
""",
)

# ------------------------------------------------------------------ 02 sample_negatives
E = "sample_negatives"
right(
    E,
    "a random distance round the ring",
    """
    step = torch.randint(1, N, (index.shape[0], K), generator=generator)
    return (index.unsqueeze(1) + step) % N
""",
)
right(
    E,
    "draws again until nothing hits",
    """
    out = torch.randint(0, N, (len(index), K), generator=generator)
    bad = out == index.view(-1, 1)
    while bad.any():
        out[bad] = torch.randint(0, N, (int(bad.sum()),), generator=generator)
        bad = out == index.view(-1, 1)
    return out
""",
)
right(
    E,
    "a list of the allowed ones for each query",
    """
    rows = []
    for i in index.tolist():
        allowed = torch.tensor([j for j in range(N) if j != i])
        rows.append(allowed[torch.randint(len(allowed), (K,), generator=generator)])
    return torch.stack(rows)
""",
)
open_(
    E,
    "without replacement (the text does not say with); multinomial",
    """
    w = torch.ones(len(index), N)
    w[torch.arange(len(index)), index] = 0
    return torch.multinomial(w, K, generator=generator)
""",
)
wrong(
    E,
    "draws from all N: the query can be its own negative",
    """
    return torch.randint(N, (len(index), K), generator=generator)
""",
)
wrong(
    E,
    "takes the neighbour on a hit: not uniform",
    """
    draw = torch.randint(N, (len(index), K), generator=generator)
    hit = draw == index[:, None]
    return torch.where(hit, (draw + 1) % N, draw)
""",
)
wrong(
    E,
    "> instead of >=: the query appears, its successor never",
    """
    draw = torch.randint(N - 1, (len(index), K), generator=generator)
    return draw + (draw > index[:, None])
""",
)
wrong(
    E,
    "one draw of K shared by all queries",
    """
    draw = torch.randint(N - 1, (1, K), generator=generator)
    return draw + (draw >= index[:, None]).long()
""",
)
wrong(
    E,
    "ignores the generator",
    """
    draw = torch.randint(N - 1, (len(index), K))
    return draw + (draw >= index[:, None])
""",
)

# ------------------------------------------------------------------ 02 memory_update
E = "memory_update"
right(
    E,
    "row by row in a loop",
    """
    new = memory.detach().clone()
    for row, i in enumerate(index):
        x = momentum * memory[i] + (1 - momentum) * embedding[row].detach()
        new[i] = x / x.norm()
    return new.detach()
""",
)
right(
    E,
    "lerp and index_copy, the whole memory normalised at the end",
    """
    with torch.no_grad():
        mixed = torch.lerp(embedding, memory[index], momentum)
        return F.normalize(memory.index_copy(0, index, mixed), dim=-1)
""",
)
wrong(
    E,
    "momentum on the new embedding",
    """
    out = memory.clone()
    x = (1 - momentum) * memory[index] + momentum * embedding.detach()
    out[index] = F.normalize(x, dim=1)
    return out
""",
)
wrong(
    E,
    "normalises along the batch",
    """
    out = memory.clone()
    x = momentum * memory[index] + (1 - momentum) * embedding.detach()
    out[index] = x / x.norm(dim=0)
    return out
""",
)
wrong(
    E,
    "gradients flow into the memory",
    """
    out = memory.clone()
    out[index] = F.normalize(momentum * memory[index] + (1 - momentum) * embedding, dim=1)
    return out
""",
)
wrong(
    E,
    "forgets to normalise the mix",
    """
    updated = memory.clone()
    updated[index] = momentum * memory[index] + (1 - momentum) * embedding.detach()
    return updated
""",
)
wrong(
    E,
    "changes the memory that it was given",
    """
    mixed = momentum * memory[index] + (1 - momentum) * embedding.detach()
    memory[index] = F.normalize(mixed, dim=1)
    return memory
""",
)
wrong(
    E,
    "returns only the rows of the batch",
    """
    mixed = momentum * memory[index] + (1 - momentum) * embedding.detach()
    return F.normalize(mixed, dim=1)
""",
)

# ------------------------------------------------------------------ 03 cross_terms
E = "cross_terms"
right(
    E,
    "scores against all notes, then gather",
    """
    def term(q, bank):
        all_scores = q @ bank.t() / temperature
        return all_scores.gather(1, index.view(-1, 1)), torch.gather(all_scores, 1, negatives)
    return dict(v2a=term(video, audio_memory), a2v=term(audio, video_memory))
""",
)
right(
    E,
    "loops and stack, the division at the query",
    """
    result = {}
    for name, query, bank in [("a2v", audio, video_memory), ("v2a", video, audio_memory)]:
        q = query / temperature
        pos = torch.stack([q[b] @ bank[index[b]] for b in range(len(q))]).reshape(-1, 1)
        neg = torch.stack([bank[negatives[b]] @ q[b] for b in range(len(q))])
        result[name] = (pos, neg)
    return result
""",
)
right(
    E,
    "bmm, lists for pairs",
    """
    out = {}
    ids = torch.cat([index[:, None], negatives], dim=1)
    for name, q, m in (("v2a", video, audio_memory), ("a2v", audio, video_memory)):
        s = torch.bmm(m[ids], q[:, :, None])[:, :, 0].div(temperature)
        out[name] = (s[:, :1], s[:, 1:])
    return out
""",
)
wrong(
    E,
    "within instead of across: pictures against notes of pictures",
    """
    def scores(q, m):
        return (q * m[index]).sum(1, keepdim=True) / temperature, torch.einsum("bd,bkd->bk", q, m[negatives]) / temperature
    return {"v2a": scores(video, video_memory), "a2v": scores(audio, audio_memory)}
""",
)
wrong(
    E,
    "the names v2a and a2v swapped",
    """
    def scores(q, m):
        return (q * m[index]).sum(1, keepdim=True) / temperature, torch.einsum("bd,bkd->bk", q, m[negatives]) / temperature
    return {"v2a": scores(audio, video_memory), "a2v": scores(video, audio_memory)}
""",
)
wrong(
    E,
    "positive from the other embedding of now, not from its note",
    """
    pos = (video * audio).sum(1, keepdim=True) / temperature
    v2a = torch.einsum("bd,bkd->bk", video, audio_memory[negatives]) / temperature
    a2v = torch.einsum("bd,bkd->bk", audio, video_memory[negatives]) / temperature
    return {"v2a": (pos, v2a), "a2v": (pos, a2v)}
""",
)
wrong(
    E,
    "only the positive is divided by the temperature",
    """
    def scores(q, m):
        return (q * m[index]).sum(1, keepdim=True) / temperature, torch.einsum("bd,bkd->bk", q, m[negatives])
    return {"v2a": scores(video, audio_memory), "a2v": scores(audio, video_memory)}
""",
)
wrong(
    E,
    "the positive has shape (B,)",
    """
    def scores(q, m):
        return (q * m[index]).sum(1) / temperature, torch.einsum("bd,bkd->bk", q, m[negatives]) / temperature
    return {"v2a": scores(video, audio_memory), "a2v": scores(audio, video_memory)}
""",
)
wrong(
    E,
    "positive is the note at the row number, not at index",
    """
    B = len(video)
    def scores(q, m):
        return (q * m[:B]).sum(1, keepdim=True) / temperature, torch.einsum("bd,bkd->bk", q, m[negatives]) / temperature
    return {"v2a": scores(video, audio_memory), "a2v": scores(audio, video_memory)}
""",
)

# ------------------------------------------------------------------ 03 cross_avid
E = "cross_avid"
right(
    E,
    "two directions written out, Z by None, autograd.grad",
    """
    wv = video_head.clone().requires_grad_()
    wa = audio_head.clone().requires_grad_()
    mv, ma = video_memory.clone(), audio_memory.clone()
    Zv = Za = None
    losses = []
    for idx, neg in zip(batches, negatives):
        v = F.normalize(video[idx] @ wv, dim=1)
        a = F.normalize(audio[idx] @ wa, dim=1)
        vp = (v * ma[idx]).sum(1, keepdim=True) / temperature
        vn = torch.einsum("bd,bkd->bk", v, ma[neg]) / temperature
        ap = (a * mv[idx]).sum(1, keepdim=True) / temperature
        an = torch.einsum("bd,bkd->bk", a, mv[neg]) / temperature
        if Zv is None:
            Zv, Za = vn.detach().exp().mean(), an.detach().exp().mean()
        K = neg.shape[1]
        lv = (F.softplus((K * Zv).log() - vp).sum(1) + F.softplus(vn - (K * Zv).log()).sum(1)).mean()
        la = (F.softplus((K * Za).log() - ap).sum(1) + F.softplus(an - (K * Za).log()).sum(1)).mean()
        loss = (lv + la) / 2
        gv, ga = torch.autograd.grad(loss, [wv, wa])
        wv = (wv - rate * gv).detach().requires_grad_()
        wa = (wa - rate * ga).detach().requires_grad_()
        mv[idx] = F.normalize(momentum * mv[idx] + (1 - momentum) * v.detach(), dim=1)
        ma[idx] = F.normalize(momentum * ma[idx] + (1 - momentum) * a.detach(), dim=1)
        losses.append(loss.detach())
    return torch.stack(losses), mv, ma
""",
)
right(
    E,
    "torch.optim.SGD and backward, helpers above the function",
    """
    heads = [torch.nn.Parameter(video_head.clone()), torch.nn.Parameter(audio_head.clone())]
    opt = torch.optim.SGD(heads, lr=rate)
    notes = [video_memory.clone(), audio_memory.clone()]
    Z = {}
    losses = torch.zeros(len(batches), dtype=video.dtype)
    for s in range(batches.shape[0]):
        i = batches[s]
        emb = [F.normalize(x[i] @ h, dim=1) for x, h in zip((video, audio), heads)]
        loss = 0
        for me in (0, 1):
            all_scores = emb[me] @ notes[1 - me].T / temperature
            pos = all_scores.gather(1, i[:, None])
            neg = all_scores.gather(1, negatives[s])
            if me not in Z:
                Z[me] = neg.detach().exp().mean()
            loss = loss + my_nce(pos, neg, Z[me])
        loss = 0.5 * loss
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses[s] = loss.item()
        for m in (0, 1):
            notes[m] = update(notes[m], i, emb[m].detach(), momentum)
    return losses, notes[0], notes[1]
""",
    before="""
    def my_nce(positive, negative, Z):
        K = negative.shape[1]
        p = positive.exp() / (positive.exp() + K * Z)
        n = K * Z / (negative.exp() + K * Z)
        return (-p.log().sum(1) - n.log().sum(1)).mean()


    def update(memory, index, e, m):
        new = memory.clone()
        x = m * memory[index] + (1 - m) * e
        new[index] = x / x.norm(dim=1, keepdim=True)
        return new
""",
)
_AVID = """
    heads = [video_head.clone().requires_grad_(), audio_head.clone().requires_grad_()]
    notes = [video_memory.clone(), audio_memory.clone()]
    Z, losses = {}, []
    for index, drawn in zip(batches, negatives):
        now = [F.normalize(x[index] @ h, dim=1) for x, h in zip((video, audio), heads)]
        loss = 0
        for asks, answers in ((0, 1), (1, 0)):
            positive = (now[asks] * notes[answers][index]).sum(1, keepdim=True) / temperature
            negative = torch.einsum("bd,bkd->bk", now[asks], notes[answers][drawn]) / temperature
            Z.setdefault(asks, negative.detach().exp().mean())
            log_KZ = (drawn.shape[1] * Z[asks]).log()
            each = F.softplus(log_KZ - positive).sum(1) + F.softplus(negative - log_KZ).sum(1)
            loss = loss + each.mean() / 2
        grads = torch.autograd.grad(loss, heads)
        heads = [(h - rate * g).detach().requires_grad_() for h, g in zip(heads, grads)]
        for which in (0, 1):
            mixed = momentum * notes[which][index] + (1 - momentum) * now[which].detach()
            notes[which][index] = F.normalize(mixed, dim=1)
        losses.append(loss.detach())
    return torch.stack(losses), *notes
"""


def avid(*swaps):
    text = _AVID
    for old, new in swaps:
        assert text.count(old) == 1, (old, text.count(old))
        text = text.replace(old, new)
    return text


wrong(
    E,
    "Z estimated again at every step",
    avid(("Z.setdefault(asks, negative.detach().exp().mean())", "Z[asks] = negative.detach().exp().mean()")),
)
wrong(
    E,
    "one Z for both terms (that of the first)",
    avid(
        ("Z.setdefault(asks, negative.detach().exp().mean())", "Z.setdefault(0, negative.detach().exp().mean())"),
        ("drawn.shape[1] * Z[asks]", "drawn.shape[1] * Z[0]"),
    ),
)
wrong(E, "embeddings are not normalised", avid(("F.normalize(x[index] @ h, dim=1) for", "x[index] @ h for")))
wrong(E, "sum of the two losses instead of their mean", avid(("each.mean() / 2", "each.mean()")))
wrong(
    E,
    "the notes are updated before they are compared",
    """
    heads = [video_head.clone().requires_grad_(), audio_head.clone().requires_grad_()]
    notes = [video_memory.clone(), audio_memory.clone()]
    Z, losses = {}, []
    for index, drawn in zip(batches, negatives):
        now = [F.normalize(x[index] @ h, dim=1) for x, h in zip((video, audio), heads)]
        for which in (0, 1):
            mixed = momentum * notes[which][index] + (1 - momentum) * now[which].detach()
            notes[which][index] = F.normalize(mixed, dim=1)
        loss = 0
        for asks, answers in ((0, 1), (1, 0)):
            positive = (now[asks] * notes[answers][index]).sum(1, keepdim=True) / temperature
            negative = torch.einsum("bd,bkd->bk", now[asks], notes[answers][drawn]) / temperature
            Z.setdefault(asks, negative.detach().exp().mean())
            log_KZ = (drawn.shape[1] * Z[asks]).log()
            each = F.softplus(log_KZ - positive).sum(1) + F.softplus(negative - log_KZ).sum(1)
            loss = loss + each.mean() / 2
        grads = torch.autograd.grad(loss, heads)
        heads = [(h - rate * g).detach().requires_grad_() for h, g in zip(heads, grads)]
        losses.append(loss.detach())
    return torch.stack(losses), *notes
""",
)
wrong(E, "compares within the sense (Self-AVID)", avid(("((0, 1), (1, 0))", "((0, 0), (1, 1))")))
wrong(E, "the step goes uphill", avid(("h - rate * g", "h + rate * g")))
wrong(
    E,
    "the notes that were given are changed (no clone)",
    avid(("[video_memory.clone(), audio_memory.clone()]", "[video_memory, audio_memory]")),
)
open_(
    E,
    "the notes get embeddings of the heads AFTER the step (the text 'only then update the notes' allows it)",
    avid(
        (
            "        for which in (0, 1):\n",
            "        now = [F.normalize(x[index] @ h, dim=1) for x, h in zip((video, audio), heads)]\n        for which in (0, 1):\n",
        )
    ),
)
wrong(
    E,
    "two mistakes: momentum on the new embedding, and no normalisation of the notes",
    avid(
        (
            "momentum * notes[which][index] + (1 - momentum) * now[which].detach()",
            "(1 - momentum) * notes[which][index] + momentum * now[which].detach()",
        ),
        ("F.normalize(mixed, dim=1)", "mixed"),
    ),
)
open_(
    E,
    "math.log without import (math is not imported in notebook 03)",
    avid(("(drawn.shape[1] * Z[asks]).log()", "math.log(drawn.shape[1] * Z[asks])")),
)

# ------------------------------------------------------------------ 04 similarity_auc
E = "similarity_auc"
right(
    E,
    "searchsorted: how many lie below, how many at most",
    """
    d, _ = torch.sort(different)
    below = torch.searchsorted(d, same.contiguous(), right=False)
    upto = torch.searchsorted(d, same.contiguous(), right=True)
    return (below + upto).double().sum() / (2 * len(same) * len(different))
""",
)
right(
    E,
    "a loop over the same pairs",
    """
    score = 0
    for s in same:
        score += (s > different).sum().item() + 0.5 * (s == different).sum().item()
    return score / (same.numel() * different.numel())
""",
)
right(
    E,
    "sign of the difference",
    """
    return (torch.sign(same.view(-1, 1) - different.view(1, -1)).float().mean() + 1) / 2
""",
)
wrong(
    E,
    "ties count nothing",
    """
    return (same[:, None] > different[None, :]).float().mean()
""",
)
wrong(
    E,
    "ties count fully",
    """
    return (same[:, None] >= different[None, :]).double().mean()
""",
)
wrong(
    E,
    "asks how often a different pair is more similar",
    """
    gap = different[:, None] - same[None]
    return (gap > 0).double().mean() + 0.5 * (gap == 0).double().mean()
""",
)
wrong(
    E,
    "ranks of the same pairs summed, but the smallest possible sum is not subtracted",
    """
    both = torch.cat([same, different])
    ranks = (both[:, None] > both[None]).sum(1) + ((both[:, None] == both[None]).sum(1) + 1) / 2
    return ranks[: len(same)].sum() / (len(same) * len(different))
""",
)
wrong(
    E,
    "a count instead of a share",
    """
    gap = same[:, None] - different[None]
    return (gap > 0).sum() + 0.5 * (gap == 0).sum()
""",
)

# ------------------------------------------------------------------ 04 reliability
E = "reliability"
right(
    E,
    "a loop over bins with masks",
    """
    place = torch.floor(confidence * bins).clamp(0, bins - 1)
    conf, acc = [], []
    for b in range(bins):
        inside = place == b
        conf.append(confidence[inside].mean())
        acc.append(correct[inside].float().mean())
    return torch.stack(conf), torch.stack(acc)
""",
)
right(
    E,
    "numpy's bincount, correct as numbers",
    """
    c = confidence.numpy().astype(float)
    y = correct.numpy().astype(float)
    where = np.minimum((c * bins).astype(int), bins - 1)
    n = np.bincount(where, minlength=bins)
    with np.errstate(all="ignore"):
        return np.bincount(where, c, bins) / n, np.bincount(where, y, bins) / n
""",
    before="import numpy as np\n",
)
right(
    E,
    "one-hot membership matrix",
    """
    member = F.one_hot((confidence * bins).long().clamp(max=bins - 1), bins).to(confidence.dtype)
    count = member.sum(0)
    return confidence @ member / count, correct.to(confidence.dtype) @ member / count
""",
)
wrong(
    E,
    "a confidence of 1.0 falls out of the last bin",
    """
    promise, truth = torch.full((bins,), float("nan")), torch.full((bins,), float("nan"))
    for b in range(bins):
        inside = (confidence >= b / bins) & (confidence < (b + 1) / bins)
        if inside.any():
            promise[b] = confidence[inside].mean()
            truth[b] = correct[inside].float().mean()
    return promise, truth
""",
)
wrong(
    E,
    "an empty bin gives 0 instead of NaN",
    """
    place = (confidence * bins).long().clamp(max=bins - 1)
    n = place.bincount(minlength=bins).clamp(min=1)
    return place.bincount(confidence, minlength=bins) / n, place.bincount(correct.double(), minlength=bins) / n
""",
)
wrong(
    E,
    "rounds to the nearest bin instead of down",
    """
    place = (confidence * bins).round().long().clamp(max=bins - 1)
    n = place.bincount(minlength=bins)
    return place.bincount(confidence, minlength=bins) / n, place.bincount(correct.double(), minlength=bins) / n
""",
)
wrong(
    E,
    "the middle of the bin instead of the mean confidence",
    """
    place = (confidence * bins).long().clamp(max=bins - 1)
    n = place.bincount(minlength=bins)
    centre = (torch.arange(bins) + 0.5) / bins
    centre[n == 0] = float("nan")
    return centre, place.bincount(correct.double(), minlength=bins) / n
""",
)
wrong(
    E,
    "bins with equally many members instead of equal width",
    """
    order = confidence.argsort()
    c = [x.mean() for x in torch.tensor_split(confidence[order], bins)]
    y = [x.double().mean() for x in torch.tensor_split(correct[order], bins)]
    return torch.stack(c), torch.stack(y)
""",
)
wrong(
    E,
    "divides by N instead of the bin's count",
    """
    place = (confidence * bins).long().clamp(max=bins - 1)
    c = place.bincount(weights=confidence, minlength=bins) / len(confidence)
    y = place.bincount(weights=correct.double(), minlength=bins) / len(confidence)
    return c, y
""",
)

# ------------------------------------------------------------------ 05 consensus_scores
E = "consensus_scores"
right(
    E,
    "stack and amin, einsum",
    """
    return torch.stack([torch.einsum("qd,nd->qn", video_query, video), torch.einsum("qd,nd->qn", audio_query, audio)]).amin(0)
""",
)
right(
    E,
    "half of the sum minus the distance",
    """
    x, y = video_query.matmul(video.t()), audio_query.matmul(audio.t())
    return (x + y - (x - y).abs()) / 2
""",
)
right(
    E,
    "loops over queries, Python's where",
    """
    rows = []
    for q in range(video_query.shape[0]):
        looks = (video * video_query[q]).sum(1)
        sounds = (audio * audio_query[q]).sum(1)
        rows.append(torch.where(looks < sounds, looks, sounds))
    return torch.stack(rows)
""",
)
wrong(
    E,
    "the larger of the two (union)",
    """
    return torch.max(video_query @ video.T, audio_query @ audio.T)
""",
)
wrong(
    E,
    "the mean of the two",
    """
    return (video_query @ video.T + audio_query @ audio.T) / 2
""",
)
wrong(
    E,
    "compares across the senses: pictures with sounds",
    """
    return torch.minimum(video_query @ audio.T, audio_query @ video.T)
""",
)
wrong(
    E,
    "minimum of the embeddings before the product",
    """
    q = torch.minimum(video_query, audio_query)
    n = torch.minimum(video, audio)
    return q @ n.T
""",
)
wrong(
    E,
    "transposed: (N, Q)",
    """
    return torch.minimum(video @ video_query.T, audio @ audio_query.T)
""",
)
wrong(
    E,
    "one similarity for each query with the clip in the same row",
    """
    return torch.minimum((video_query * video[: len(video_query)]).sum(1), (audio_query * audio[: len(audio_query)]).sum(1))
""",
)

# ------------------------------------------------------------------ 05 top_k_positives
E = "top_k_positives"
right(
    E,
    "Python's sorted, by score and index",
    """
    out = []
    for i, row in enumerate(score.tolist()):
        others = [j for j in range(len(row)) if j != i]
        others.sort(key=lambda j: (-row[j], j))
        out.append(others[:k])
    return torch.tensor(out)
""",
)
right(
    E,
    "numpy argsort of the negative, the query removed by its index afterwards",
    """
    order = np.argsort(-score.numpy(), axis=1, kind="stable")
    n = len(order)
    keep = order[order != np.arange(n)[:, None]].reshape(n, n - 1)
    return torch.as_tensor(keep[:, :k].copy())
""",
    before="import numpy as np\n",
)
right(
    E,
    "masked_fill with eye",
    """
    own = torch.eye(len(score), dtype=torch.bool)
    s = score.masked_fill(own, float("-inf"))
    return (-s).argsort(dim=1, stable=True)[:, :k]
""",
)
wrong(
    E,
    "leaves out whichever clip comes first, not the query",
    """
    order = score.argsort(dim=1, descending=True, stable=True)
    return order[:, 1 : k + 1]
""",
)
wrong(
    E,
    "changes the table that it was given",
    """
    score.fill_diagonal_(-torch.inf)
    return score.sort(dim=1, descending=True, stable=True).indices[:, :k]
""",
)
wrong(
    E,
    "sorts the columns",
    """
    s = score.clone()
    s.fill_diagonal_(-torch.inf)
    return s.sort(dim=0, descending=True, stable=True).indices[:k].T
""",
)
wrong(
    E,
    "worst first (ascending)",
    """
    s = score.clone().fill_diagonal_(torch.inf)
    return s.argsort(dim=1, stable=True)[:, :k]
""",
)
wrong(
    E,
    "the query may choose itself",
    """
    return score.sort(dim=1, descending=True, stable=True)[1][:, :k]
""",
)
wrong(
    E,
    "a zero on the diagonal: it still beats negative scores",
    """
    s = score * (1 - torch.eye(len(score)))
    return s.argsort(dim=1, descending=True, stable=True)[:, :k]
""",
)
wrong(
    E,
    "returns the scores instead of the indices",
    """
    s = score.clone().fill_diagonal_(-torch.inf)
    return s.sort(dim=1, descending=True, stable=True).values[:, :k]
""",
)
wrong(
    E,
    "among ties the higher index wins (flipped ascending sort)",
    """
    s = score.clone().fill_diagonal_(-torch.inf)
    return s.argsort(dim=1, stable=True).flip(1)[:, :k]
""",
)

# ------------------------------------------------------------------ 05 precision_at_k
E = "precision_at_k"
right(
    E,
    "two loops and a Python number",
    """
    hits = 0
    for i, row in enumerate(positives):
        for j in row:
            if labels[j] == labels[i]:
                hits += 1
    return hits / positives.numel()
""",
)
right(
    E,
    "mean of means, numpy",
    """
    y = np.asarray(labels)
    p = np.asarray(positives)
    return np.mean([np.mean(y[p[i]] == y[i]) for i in range(len(p))])
""",
    before="import numpy as np\n",
)
wrong(
    E,
    "compares the instance numbers with the classes",
    """
    return (positives == labels[:, None]).float().mean()
""",
)
wrong(
    E,
    "in per cent",
    """
    return 100 * (labels[positives] == labels[:, None]).double().mean()
""",
)
wrong(
    E,
    "one value for each query",
    """
    return (labels[positives] == labels.unsqueeze(1)).float().mean(dim=1)
""",
)
wrong(
    E,
    "share of queries with at least one right positive",
    """
    return (labels[positives] == labels[:, None]).any(1).double().mean()
""",
)
wrong(
    E,
    "recall: divides by the size of the class instead of k",
    """
    hits = (labels[positives] == labels[:, None]).sum(1)
    size = (labels[:, None] == labels[None]).sum(1) - 1
    return (hits / size).mean()
""",
)

# ------------------------------------------------------------------ 06 cma_negatives
E = "cma_negatives"
right(
    E,
    "rejection: draw again what is not allowed",
    """
    out = torch.randint(N, (len(index), K), generator=generator)
    forbidden = torch.cat([index[:, None], positives[index]], dim=1)
    while True:
        bad = (out[:, :, None] == forbidden[:, None, :]).any(-1)
        if not bad.any():
            return out
        out[bad] = torch.randint(N, (int(bad.sum()),), generator=generator)
""",
)
right(
    E,
    "a list of allowed clips for each query",
    """
    rows = []
    for i in index:
        ok = torch.ones(N, dtype=torch.bool)
        ok[i] = False
        ok[positives[i]] = False
        candidates = ok.nonzero().squeeze(1)
        rows.append(candidates[torch.randint(0, candidates.numel(), (K,), generator=generator)])
    return torch.stack(rows, dim=0)
""",
)
wrong(
    E,
    "the query itself can be drawn",
    """
    weights = torch.ones(len(index), N)
    weights.scatter_(1, positives[index], 0)
    return torch.multinomial(weights, K, replacement=True, generator=generator)
""",
)
wrong(
    E,
    "positives of the first B clips, not of the queries",
    """
    B = len(index)
    weights = torch.ones(B, N)
    weights.scatter_(1, positives[:B], 0.0)
    weights.scatter_(1, index[:, None], 0.0)
    return torch.multinomial(weights, K, replacement=True, generator=generator)
""",
)
wrong(
    E,
    "leaves out the positives of the whole batch for every query",
    """
    weights = torch.ones(N)
    weights[positives[index].flatten()] = 0
    weights[index] = 0
    return torch.multinomial(weights.expand(len(index), N), K, replacement=True, generator=generator)
""",
)
wrong(
    E,
    "draws again only once: a second hit stays",
    """
    out = torch.randint(N, (len(index), K), generator=generator)
    bad = ((out[:, :, None] == positives[index][:, None]).any(2)) | (out == index[:, None])
    again = torch.randint(N, (len(index), K), generator=generator)
    return torch.where(bad, again, out)
""",
)
wrong(
    E,
    "ignores the generator",
    """
    weights = torch.ones(len(index), N)
    weights.scatter_(1, positives[index], 0)
    weights.scatter_(1, index[:, None], 0)
    return torch.multinomial(weights, K, replacement=True)
""",
)
open_(
    E,
    "without replacement (the text does not say with)",
    """
    weights = torch.ones(len(index), N)
    weights.scatter_(1, positives[index], 0)
    weights.scatter_(1, index[:, None], 0)
    return torch.multinomial(weights, K, generator=generator)
""",
)

# ------------------------------------------------------------------ 06 within_positive_loss
E = "within_positive_loss"
right(
    E,
    "scores against all notes, gather, logsigmoid",
    """
    s = video @ video_memory.T / temperature
    yes, no = s.gather(1, positives), s.gather(1, negatives)
    c = math.log(negatives.size(1) * Z)
    per_query = -F.logsigmoid(yes - c).mean(1) - F.logsigmoid(c - no).sum(1)
    return per_query.mean()
""",
)
right(
    E,
    "loops over queries and positives, the equation as typed",
    """
    B, K = negatives.shape
    P = positives.shape[1]
    KZ = K * Z
    total = 0.0
    for b in range(B):
        no = torch.exp(video_memory[negatives[b]] @ video[b] / temperature)
        push = -torch.log(KZ / (no + KZ)).sum()
        for p in positives[b]:
            e = torch.exp(video_memory[p] @ video[b] / temperature)
            total = total + (-torch.log(e / (e + KZ)) + push) / P
    return total / B
""",
)
wrong(
    E,
    "averages the memories of the positives first",
    """
    centre = video_memory[positives].mean(1)
    yes = (video * centre).sum(1, keepdim=True) / temperature
    no = torch.einsum("bd,bkd->bk", video, video_memory[negatives]) / temperature
    c = math.log(negatives.shape[1] * Z)
    return (F.softplus(c - yes).sum(1) + F.softplus(no - c).sum(1)).mean()
""",
)
wrong(
    E,
    "sum over the positives instead of their mean",
    """
    yes = torch.einsum("bd,bpd->bp", video, video_memory[positives]) / temperature
    no = torch.einsum("bd,bkd->bk", video, video_memory[negatives]) / temperature
    c = math.log(negatives.shape[1] * Z)
    return (F.softplus(c - yes).sum(1) + F.softplus(no - c).sum(1)).mean()
""",
)
wrong(
    E,
    "mean over the negatives, too",
    """
    yes = torch.einsum("bd,bpd->bp", video, video_memory[positives]) / temperature
    no = torch.einsum("bd,bkd->bk", video, video_memory[negatives]) / temperature
    c = math.log(negatives.shape[1] * Z)
    return F.softplus(c - yes).mean() + F.softplus(no - c).mean()
""",
)
wrong(
    E,
    "P instead of K in K Z for the positives",
    """
    yes = torch.einsum("bd,bpd->bp", video, video_memory[positives]) / temperature
    no = torch.einsum("bd,bkd->bk", video, video_memory[negatives]) / temperature
    P, K = positives.shape[1], negatives.shape[1]
    return (F.softplus(math.log(P * Z) - yes).mean(1) + F.softplus(no - math.log(K * Z)).sum(1)).mean()
""",
)
wrong(
    E,
    "averages the probabilities of the positives before the logarithm",
    """
    KZ = negatives.shape[1] * Z
    yes = torch.exp(torch.einsum("bd,bpd->bp", video, video_memory[positives]) / temperature)
    no = torch.exp(torch.einsum("bd,bkd->bk", video, video_memory[negatives]) / temperature)
    p = (yes / (yes + KZ)).mean(1)
    return (-p.log() - (KZ / (no + KZ)).log().sum(1)).mean()
""",
)
wrong(
    E,
    "forgets the temperature",
    """
    yes = torch.einsum("bd,bpd->bp", video, video_memory[positives])
    no = torch.einsum("bd,bkd->bk", video, video_memory[negatives])
    c = math.log(negatives.shape[1] * Z)
    return (F.softplus(c - yes).mean(1) + F.softplus(no - c).sum(1)).mean()
""",
)

# ------------------------------------------------------------------ 06 remined
E = "remined"
right(
    E,
    "Python sets for the share, isin row by row",
    """
    if epoch - mined_at < every:
        return positives, mined_at, 0.0
    P = positives.shape[1]
    score = torch.minimum(video @ video.T, audio @ audio.T)
    score[range(len(score)), range(len(score))] = float("-inf")
    new = score.sort(dim=1, descending=True, stable=True)[1][:, :P]
    fresh = 0
    for a, b in zip(new.tolist(), positives.tolist()):
        fresh += len(set(a) - set(b))
    return new, epoch, fresh / new.numel()
""",
)
right(
    E,
    "with a helper; a membership table of old positives",
    """
    due = epoch >= mined_at + every
    if not due:
        return positives, mined_at, 0.0
    new = mine(video, audio, positives.size(1))
    was = torch.zeros(len(video), len(video), dtype=torch.bool)
    was.scatter_(1, positives, True)
    share = 1 - was.gather(1, new).double().mean()
    return new, epoch, share.item()
""",
    before="""
    def mine(video, audio, k):
        s = torch.minimum(video @ video.T, audio @ audio.T)
        s.fill_diagonal_(-2.0)
        return s.argsort(dim=1, descending=True, stable=True)[:, :k]
""",
)
_MINE = """
    if {due}:
        return positives, mined_at, 0.0
    score = {rule}(video @ video.T, audio @ audio.T)
    {own}
    found = score.sort(dim=1, descending=True, stable=True).indices[:, : positives.shape[1]]
    {share}
    return found, epoch, share
"""


def mining(
    due="epoch - mined_at < every",
    rule="torch.minimum",
    own="score.fill_diagonal_(-torch.inf)",
    share="share = (~(found[:, :, None] == positives[:, None]).any(2)).double().mean().item()",
):
    return _MINE.format(due=due, rule=rule, own=own, share=share)


wrong(E, "mines only after more than `every` passes (<= instead of <)", mining(due="epoch - mined_at <= every"))
wrong(
    E,
    "the share of positives that stayed, not of new ones",
    mining(share="share = (found[:, :, None] == positives[:, None]).any(2).double().mean().item()"),
)
wrong(
    E,
    "compares place by place: a positive that moved up counts as new",
    mining(share="share = (found != positives).double().mean().item()"),
)
wrong(E, "union instead of consensus", mining(rule="torch.maximum"))
wrong(E, "the query is its own first positive", mining(own="pass"))
wrong(
    E,
    "asks `any` along the new positives: the share of old ones that left -- same count in total",
    mining(share="share = (~(found[:, :, None] == positives[:, None]).any(1)).double().mean().item()"),
)
ANSWERS[-1]["kind"] = "right"
ANSWERS[-1]["words"] = "share of old positives that left: the same number, because every row has P of both"
wrong(
    E,
    "counts a positive as old if any query had it before",
    mining(share="share = (~torch.isin(found, positives)).double().mean().item()"),
)
wrong(E, "mines whenever the pass is a multiple of `every`, whatever mined_at", mining(due="epoch % every != 0"))
wrong(
    E,
    "returns the old mined_at after mining",
    mining().replace("return found, epoch, share", "return found, mined_at, share"),
)

# ------------------------------------------------------------------ 07 my_loss
E = "my_loss"
right(
    E,
    "hinge with a margin of 1 against every negative",
    """
    gap = 1.0 + negative[:, None, :] - positive[:, :, None]
    return F.relu(gap).mean()
""",
)
right(
    E,
    "logistic loss of all pairs, no Z",
    """
    return F.softplus(-positive).mean() + F.softplus(negative).mean()
""",
)
right(
    E,
    "InfoNCE for each positive",
    """
    scores = torch.cat([positive.unsqueeze(2), negative.unsqueeze(1).expand(-1, positive.shape[1], -1)], dim=2)
    return -scores.log_softmax(dim=2)[:, :, 0].mean()
""",
)
right(
    E,
    "circle-like: squared hinge with a focus on hard negatives",
    """
    hard = torch.softmax(negative.detach(), dim=1)
    push = (hard * F.softplus(negative)).sum(1)
    pull = F.softplus(2 - positive).mean(1)
    return (push + pull).mean()
""",
)
wrong(
    E,
    "wrong sign: positives are pushed and negatives pulled",
    """
    return (positive.mean(1) - negative.mean(1)).mean()
""",
)
wrong(
    E,
    "only partners, no push",
    """
    return -positive.mean()
""",
)
wrong(
    E,
    "one value for each query",
    """
    return negative.logsumexp(1) - positive.mean(1)
""",
)
wrong(
    E,
    "exp of large scores overflows",
    """
    return (negative.exp().sum(1) / positive.exp().sum(1)).mean()
""",
)
wrong(
    E,
    "only the first negative is looked at",
    """
    return F.softplus(negative[:, 0] - positive[:, 0]).mean()
""",
)
wrong(
    E,
    "counts violations: no slope",
    """
    return (negative > positive.mean(1, keepdim=True)).float().mean()
""",
)
wrong(
    E,
    "log of sigmoid underflows to log 0",
    """
    return -torch.log(torch.sigmoid(positive)).mean() - torch.log(1 - torch.sigmoid(negative)).mean()
""",
)

# ------------------------------------------------------------------ 08 recall_at_k
E = "recall_at_k"
right(
    E,
    "number of items that are no worse, minus itself",
    """
    target = torch.diag(score).unsqueeze(1)
    ahead = (score >= target).sum(dim=1) - 1
    return (ahead < k).double().mean()
""",
)
right(
    E,
    "loop with sorted Python lists",
    """
    n = len(score)
    hits = 0
    for i in range(n):
        better = [j for j in range(n) if j != i and score[i, j] >= score[i, i]]
        if len(better) + 1 <= k:
            hits += 1
    return hits / n
""",
)
right(
    E,
    "the (k+1)-th best is compared with the target",
    """
    n = score.shape[0]
    if k >= n:
        return 1.0
    kth = score.topk(k + 1, dim=1).values[:, k]
    return (score.diagonal() > kth).float().mean().item()
""",
)
wrong(
    E,
    "> instead of >=: ties are found",
    """
    better = (score > score.diagonal()[:, None]).sum(1)
    return (better < k).double().mean()
""",
)
wrong(
    E,
    "off by one: rank < k",
    """
    rank = (score >= score.diagonal()[:, None]).sum(1)
    return (rank < k).float().mean()
""",
)
wrong(
    E,
    "ranks along the columns (targets ask)",
    """
    rank = (score >= score.diagonal()[None, :]).sum(0)
    return (rank <= k).double().mean()
""",
)
wrong(
    E,
    "topk contains the target: ties decided by position",
    """
    top = score.topk(k, dim=1).indices
    own = torch.arange(len(score))[:, None]
    return (top == own).any(1).double().mean()
""",
)
wrong(
    E,
    "returns a number of queries, not a share",
    """
    rank = (score >= score.diagonal()[:, None]).sum(1)
    return (rank <= k).sum()
""",
)
wrong(
    E,
    "divides by k",
    """
    rank = (score >= score.diagonal()[:, None]).sum(1)
    return (rank <= k).double().mean() / k
""",
)

# ------------------------------------------------------------------ 08 knn_predict
E = "knn_predict"
right(
    E,
    "only the training rows are normalised (the length of a query does not matter)",
    """
    unit = train / train.norm(dim=1, keepdim=True)
    near = (test @ unit.T).argsort(dim=1, descending=True)[:, :k]
    votes = torch.zeros(len(test), int(train_labels.max()) + 1)
    votes.scatter_add_(1, train_labels[near], torch.ones_like(near, dtype=votes.dtype))
    return votes.argmax(1)
""",
)
right(
    E,
    "distances of unit vectors, bincount in a loop",
    """
    a, b = F.normalize(train, dim=1), F.normalize(test, dim=1)
    nearest = torch.cdist(b, a).topk(k, largest=False).indices
    return torch.stack([torch.bincount(train_labels[row]).argmax() for row in nearest])
""",
)
right(
    E,
    "cosine_similarity and mode",
    """
    similarity = F.cosine_similarity(test[:, None], train[None], dim=2)
    return train_labels[similarity.topk(k).indices].mode(dim=1).values
""",
)
wrong(
    E,
    "no normalisation: dot product",
    """
    near = (test @ train.T).topk(k, dim=1).indices
    votes = F.one_hot(train_labels[near], int(train_labels.max()) + 1).sum(1)
    return votes.argmax(1)
""",
)
wrong(
    E,
    "a tie goes to the class of the nearest",
    """
    s = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    near = s.topk(k, dim=1).indices
    return torch.tensor([Counter(train_labels[row].tolist()).most_common(1)[0][0] for row in near])
""",
    before="from collections import Counter\n",
)
wrong(
    E,
    "votes weighted by similarity",
    """
    s = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    best = s.topk(k, dim=1)
    one = F.one_hot(train_labels[best.indices], int(train_labels.max()) + 1)
    return (one * best.values[:, :, None]).sum(1).argmax(1)
""",
)
wrong(
    E,
    "Euclidean distance of raw vectors",
    """
    near = torch.cdist(test, train).topk(k, dim=1, largest=False).indices
    return F.one_hot(train_labels[near], int(train_labels.max()) + 1).sum(1).argmax(1)
""",
)
wrong(
    E,
    "returns the nearest training clip, not a class",
    """
    s = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    return s.topk(k, dim=1).indices.mode(1).values
""",
)
wrong(
    E,
    "normalises along the wrong axis",
    """
    s = F.normalize(test, dim=0) @ F.normalize(train, dim=0).T
    near = s.topk(k, dim=1).indices
    return F.one_hot(train_labels[near], int(train_labels.max()) + 1).sum(1).argmax(1)
""",
)

# ------------------------------------------------------------------ 08 linear_probe_step
E = "linear_probe_step"
right(
    E,
    "autograd on copies",
    """
    w = weight.detach().clone().requires_grad_(True)
    b = bias.detach().clone().requires_grad_(True)
    F.cross_entropy(F.linear(features.detach(), w, b), labels).backward()
    with torch.no_grad():
        return w - learning_rate * w.grad, b - learning_rate * b.grad
""",
)
right(
    E,
    "by hand, truth subtracted in place, loop over the classes",
    """
    p = torch.softmax(features @ weight.T + bias, dim=1)
    p[range(len(labels)), labels] -= 1
    W, b = weight.clone(), bias.clone()
    for c in range(len(bias)):
        W[c] = W[c] - learning_rate * (p[:, c : c + 1] * features).mean(0)
        b[c] = b[c] - learning_rate * p[:, c].mean()
    return W, b
""",
)
wrong(
    E,
    "a step uphill",
    """
    wrong = (features @ weight.T + bias).softmax(1) - F.one_hot(labels, len(bias))
    wrong = wrong / len(labels)
    return weight + learning_rate * wrong.T @ features, bias + learning_rate * wrong.sum(0)
""",
)
wrong(
    E,
    "sum over the batch instead of the mean",
    """
    wrong = (features @ weight.T + bias).softmax(1) - F.one_hot(labels, len(bias))
    return weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.sum(0)
""",
)
wrong(
    E,
    "the bias does not move",
    """
    wrong = ((features @ weight.T + bias).softmax(1) - F.one_hot(labels, len(bias))) / len(labels)
    return weight - learning_rate * wrong.T @ features, bias
""",
)
wrong(
    E,
    "changes the weights that it was given",
    """
    wrong = ((features @ weight.T + bias).softmax(1) - F.one_hot(labels, len(bias))) / len(labels)
    weight -= learning_rate * wrong.T @ features
    bias -= learning_rate * wrong.sum(0)
    return weight, bias
""",
)
wrong(
    E,
    "softmax over the batch axis",
    """
    wrong = ((features @ weight.T + bias).softmax(0) - F.one_hot(labels, len(bias))) / len(labels)
    return weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.sum(0)
""",
)
wrong(
    E,
    "forgets the bias in the logits",
    """
    wrong = ((features @ weight.T).softmax(1) - F.one_hot(labels, len(bias))) / len(labels)
    return weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.sum(0)
""",
)
wrong(
    E,
    "the bias gradient is divided by B twice",
    """
    wrong = ((features @ weight.T + bias).softmax(1) - F.one_hot(labels, len(bias))) / len(labels)
    return weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.mean(0)
""",
)

# ------------------------------------------------------------------ 09 info_nce
E = "info_nce"
right(
    E,
    "logsumexp along both axes",
    """
    S = torch.einsum("id,jd->ij", video, audio) / temperature
    own = S.diag()
    return (S.logsumexp(0) + S.logsumexp(1) - 2 * own).sum() / (2 * len(S))
""",
)
right(
    E,
    "the equation as typed in a loop",
    """
    S = video @ audio.T / temperature
    B = len(S)
    loss = 0
    for i in range(B):
        loss = loss + torch.log(torch.exp(S[i, i]) / torch.exp(S[i]).sum())
        loss = loss + torch.log(torch.exp(S[i, i]) / torch.exp(S[:, i]).sum())
    return -loss / (2 * B)
""",
)
right(
    E,
    "log_softmax, trace",
    """
    S = video.mm(audio.t()).div(temperature)
    return -0.5 * (F.log_softmax(S, 0).trace() + F.log_softmax(S, 1).trace()) / S.size(0)
""",
)
wrong(
    E,
    "only one direction",
    """
    score = video @ audio.T / temperature
    return F.cross_entropy(score, torch.arange(len(score)))
""",
)
wrong(
    E,
    "sum of both directions instead of their mean",
    """
    score = video @ audio.T / temperature
    target = torch.arange(len(score))
    return F.cross_entropy(score, target) + F.cross_entropy(score.T, target)
""",
)
wrong(
    E,
    "multiplies by the temperature",
    """
    score = video @ audio.T * temperature
    target = torch.arange(len(score))
    return (F.cross_entropy(score, target) + F.cross_entropy(score.T, target)) / 2
""",
)
wrong(
    E,
    "the right pair is left out of the denominator",
    """
    S = video @ audio.T / temperature
    others = S.masked_fill(torch.eye(len(S), dtype=torch.bool), -torch.inf)
    return ((others.logsumexp(0) + others.logsumexp(1)) / 2 - S.diagonal()).mean()
""",
)
wrong(
    E,
    "sounds are detached (the second direction was thought of as a memory)",
    """
    a, v = audio.detach(), video.detach()
    t = torch.arange(len(video))
    return (F.cross_entropy(video @ a.T / temperature, t) + F.cross_entropy(audio @ v.T / temperature, t)) / 2
""",
)
wrong(
    E,
    "two mistakes: no temperature, and only one direction",
    """
    return F.cross_entropy(video @ audio.T, torch.arange(len(video)))
""",
)

# ------------------------------------------------------------------ 09 queue_step
E = "queue_step"
right(
    E,
    "logsumexp instead of cross_entropy, roll for the queue",
    """
    k, q = key.detach(), queue.detach()
    own = (query * k).sum(1) / temperature
    others = query @ q.T / temperature
    loss = (torch.logaddexp(own, others.logsumexp(1)) - own).mean()
    B = len(k)
    return loss, torch.cat([q, k])[B:].clone()
""",
)
right(
    E,
    "keeps the last Q rows, einsum",
    """
    key = key.detach()
    pos = torch.einsum("bd,bd->b", query, key)[:, None]
    logits = torch.hstack((pos, torch.einsum("bd,qd->bq", query, queue.detach()))) / temperature
    zero = torch.zeros(query.shape[0], dtype=torch.long)
    return F.cross_entropy(logits, zero), torch.vstack([queue, key])[-queue.shape[0]:]
""",
)
wrong(
    E,
    "the keys carry gradients",
    """
    own = (query * key).sum(1, keepdim=True)
    logits = torch.cat([own, query @ queue.T], 1) / temperature
    loss = F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))
    return loss, torch.cat([queue, key])[len(key):]
""",
)
wrong(
    E,
    "the newest entries leave instead of the oldest",
    """
    key = key.detach()
    own = (query * key).sum(1, keepdim=True)
    logits = torch.cat([own, query @ queue.T], 1) / temperature
    loss = F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))
    return loss, torch.cat([queue[: len(queue) - len(key)], key])
""",
)
wrong(
    E,
    "new keys in front: newest first",
    """
    key = key.detach()
    own = (query * key).sum(1, keepdim=True)
    logits = torch.cat([own, query @ queue.T], 1) / temperature
    loss = F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))
    return loss, torch.cat([key, queue])[: len(queue)]
""",
)
wrong(
    E,
    "the queue moves before the loss: each query meets its own key as a negative",
    """
    key = key.detach()
    queue = torch.cat([queue, key])[len(key):]
    own = (query * key).sum(1, keepdim=True)
    logits = torch.cat([own, query @ queue.T], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long)), queue
""",
)
wrong(
    E,
    "all keys of the batch are candidates, too",
    """
    key = key.detach()
    logits = torch.cat([query @ key.T, query @ queue.T], 1) / temperature
    loss = F.cross_entropy(logits, torch.arange(len(query)))
    return loss, torch.cat([queue, key])[len(key):]
""",
)
wrong(
    E,
    "the queue grows: nothing leaves",
    """
    key = key.detach()
    own = (query * key).sum(1, keepdim=True)
    logits = torch.cat([own, query @ queue.T], 1) / temperature
    loss = F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))
    return loss, torch.cat([queue, key])
""",
)
wrong(
    E,
    "the pictures join the queue instead of the sounds",
    """
    key = key.detach()
    own = (query * key).sum(1, keepdim=True)
    logits = torch.cat([own, query @ queue.T], 1) / temperature
    loss = F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))
    return loss, torch.cat([queue, query.detach()])[len(query):]
""",
)

# ------------------------------------------------------------------ 09 sigmoid_loss
E = "sigmoid_loss"
right(
    E,
    "binary cross-entropy with logits",
    """
    s = video @ audio.T / temperature + bias
    return F.binary_cross_entropy_with_logits(s, torch.eye(len(s), dtype=s.dtype), reduction="sum") / len(s)
""",
)
right(
    E,
    "softplus, diagonal and rest separately",
    """
    s = torch.matmul(video, audio.transpose(0, 1)) / temperature + bias
    yes = F.softplus(-s.diagonal()).sum()
    no = F.softplus(s).sum() - F.softplus(s.diagonal()).sum()
    return (yes + no) / s.shape[0]
""",
)
wrong(
    E,
    "the bias is outside the sign",
    """
    sign = 2 * torch.eye(len(video)) - 1
    s = video @ audio.T / temperature
    return -F.logsigmoid(sign * s + bias).sum() / len(video)
""",
)
wrong(
    E,
    "mean over all pairs: divided by B squared",
    """
    sign = 2 * torch.eye(len(video)) - 1
    s = video @ audio.T / temperature + bias
    return -F.logsigmoid(sign * s).mean()
""",
)
wrong(
    E,
    "the bias is divided by the temperature, too",
    """
    sign = 2 * torch.eye(len(video)) - 1
    s = (video @ audio.T + bias) / temperature
    return -F.logsigmoid(sign * s).sum() / len(video)
""",
)
wrong(
    E,
    "the bias is subtracted",
    """
    sign = 2 * torch.eye(len(video)) - 1
    s = video @ audio.T / temperature - bias
    return -F.logsigmoid(sign * s).sum() / len(video)
""",
)
wrong(
    E,
    "sign 0 instead of -1 off the diagonal",
    """
    sign = torch.eye(len(video))
    s = video @ audio.T / temperature + bias
    return -F.logsigmoid(sign * s).sum() / len(video)
""",
)
wrong(
    E,
    "two mistakes: bias outside the sign, and mean over all pairs",
    """
    s = video @ audio.T / temperature
    y = torch.full_like(s, -1).fill_diagonal_(1)
    return -F.logsigmoid(y * s + bias).mean()
""",
)

# ------------------------------------------------------------------ 09 robust_weights
E = "robust_weights"
right(
    E,
    "torch.distributions.Normal",
    """
    s = similarity.detach()
    normal = torch.distributions.Normal(s.mean(), s.std(unbiased=False))
    return floor + (1 - floor) * normal.cdf(s)
""",
)
right(
    E,
    "math.erf in a loop over a list",
    """
    s = similarity.tolist()
    mu = sum(s) / len(s)
    sigma = math.sqrt(sum((x - mu) ** 2 for x in s) / len(s))
    return torch.tensor([floor + (1 - floor) * (1 + math.erf((x - mu) / sigma / math.sqrt(2))) / 2 for x in s])
""",
)
wrong(
    E,
    "the standard deviation divides by B - 1",
    """
    s = similarity.detach()
    z = (s - s.mean()) / s.std()
    return floor + (1 - floor) * torch.special.ndtr(z)
""",
)
wrong(
    E,
    "gradients flow through the weights",
    """
    z = (similarity - similarity.mean()) / similarity.std(correction=0)
    return floor + (1 - floor) * torch.special.ndtr(z)
""",
)
wrong(
    E,
    "clamped at the floor instead of rescaled",
    """
    s = similarity.detach()
    z = (s - s.mean()) / s.std(correction=0)
    return torch.special.ndtr(z).clamp(min=floor)
""",
)
wrong(
    E,
    "floor added without shrinking: up to 1 + floor",
    """
    s = similarity.detach()
    z = (s - s.mean()) / s.std(correction=0)
    return torch.special.ndtr(z) + floor
""",
)
wrong(
    E,
    "a logistic curve instead of the normal distribution",
    """
    s = similarity.detach()
    z = (s - s.mean()) / s.std(correction=0)
    return floor + (1 - floor) * torch.sigmoid(z)
""",
)
wrong(
    E,
    "divides by the variance",
    """
    s = similarity.detach()
    z = (s - s.mean()) / s.var(correction=0)
    return floor + (1 - floor) * torch.special.ndtr(z)
""",
)
wrong(
    E,
    "weights divided by their sum",
    """
    s = similarity.detach()
    z = (s - s.mean()) / s.std(correction=0)
    w = floor + (1 - floor) * torch.special.ndtr(z)
    return w / w.sum()
""",
)

# =================================================================== second batch: the less tidy half of the class


# ------------------------------------------------------------------ 01 log_spectrogram_bins
E = "log_spectrogram_bins"
wrong(
    E,
    "averages neighbouring frames instead of neighbouring bins",
    """
    n = power.shape[0] // 2 * 2
    pairs = (power[0:n:2] + power[1:n:2]) / 2
    db = 10 * torch.log10(pairs.clamp(min=1e-20))
    return db.clamp(min=db.max() - 100)
""",
)
wrong(
    E,
    "the lowest bin is dropped",
    """
    x = power[:, 1:].unflatten(1, (-1, 2)).mean(2)
    db = 10 * x.clamp(min=1e-20).log10()
    return torch.maximum(db, db.max() - 100)
""",
)
wrong(
    E,
    "a factor of 100 instead of 100 dB as the floor",
    """
    x = torch.cat([power[:, :1], (power[:, 1::2] + power[:, 2::2]) / 2], dim=1)
    x = torch.clamp(x, min=float(x.max()) / 100)
    return 10 * torch.log10(x)
""",
)
wrong(
    E,
    "the larger of the two bins instead of their mean",
    """
    x = torch.cat([power[:, :1], torch.maximum(power[:, 1::2], power[:, 2::2])], dim=1)
    db = 10 * x.clamp(min=1e-20).log10()
    return db.clamp(min=db.max() - 100)
""",
)
wrong(
    E,
    "10 * natural logarithm",
    """
    x = torch.cat([power[:, :1], (power[:, 1::2] + power[:, 2::2]) / 2], dim=1)
    db = 10 * torch.log(x + 1e-20)
    floor = db.max() - 100
    return torch.where(db > floor, db, floor)
""",
)
wrong(
    E,
    "cuts off the top: clamp(max=...) instead of min",
    """
    pairs = power[:, 1:].unflatten(1, (-1, 2)).mean(-1)
    x = torch.cat([power[:, :1], pairs], dim=1).clamp(min=1e-20)
    db = 10 * x.log10()
    return db.clamp(max=db.max() - 100)
""",
)
wrong(
    E,
    "two mistakes: averages decibels, and no floor relative to the loudest",
    """
    db = 10 * torch.log10(power + 1e-12)
    out = [db[:, 0]]
    for i in range(1, power.shape[1] - 1, 2):
        out.append((db[:, i] + db[:, i + 1]) / 2)
    return torch.stack(out, 1)
""",
)

# ------------------------------------------------------------------ 02 nce_loss
E = "nce_loss"
right(
    E,
    "other names for the parameters, double precision inside",
    """
    pos, neg = pos.double(), neg.double()
    c = neg.shape[-1] * z
    e_pos, e_neg = pos.exp(), neg.exp()
    per_query = torch.log((e_pos + c) / e_pos)[:, 0] + torch.log((e_neg + c) / c).sum(-1)
    return per_query.mean()
""",
    head="def loss(pos, neg, z):",
)
right(
    E,
    "calls the library",
    """
    return al.nce_loss(positive, negative, Z)
""",
)
wrong(
    E,
    "broadcast before the sum: the positive counts K times",
    """
    KZ = negative.shape[1] * Z
    yes = positive.exp() / (positive.exp() + KZ)
    no = KZ / (negative.exp() + KZ)
    return -(yes.log() + no.log()).sum(dim=1).mean()
""",
)
wrong(
    E,
    "returns a Python number: no gradient",
    """
    KZ = negative.shape[1] * Z
    yes = positive.exp() / (positive.exp() + KZ)
    no = KZ / (negative.exp() + KZ)
    loss = -yes.log().sum(1) - no.log().sum(1)
    return loss.mean().item()
""",
)
wrong(
    E,
    "forgot return",
    """
    K = negative.shape[1]
    first = -torch.log(positive.exp() / (positive.exp() + K * Z)).squeeze()
    second = -torch.log(K * Z / (negative.exp() + K * Z)).sum(1)
    loss = (first + second).mean()
""",
)
wrong(
    E,
    "binary cross-entropy averaged over all B (K + 1) answers",
    """
    c = math.log(negative.shape[1] * Z)
    logits = torch.cat([positive, negative], 1) - c
    target = torch.cat([torch.ones_like(positive), torch.zeros_like(negative)], 1)
    return F.binary_cross_entropy_with_logits(logits, target)
""",
)
wrong(
    E,
    "the logarithm of the mean over the batch instead of the mean of the logarithms",
    """
    KZ = negative.shape[1] * Z
    yes = (positive.exp() / (positive.exp() + KZ)).mean()
    no = (KZ / (negative.exp() + KZ)).mean(0)
    return -yes.log() - no.log().sum()
""",
)
wrong(
    E,
    "the negatives are summed over the batch, too, the positive is averaged",
    """
    KZ = negative.shape[1] * Z
    return F.softplus(math.log(KZ) - positive).mean() + F.softplus(negative - math.log(KZ)).sum()
""",
)
wrong(
    E,
    "K + Z instead of K Z",
    """
    c = negative.shape[1] + Z
    yes = positive.exp() / (positive.exp() + c)
    no = c / (negative.exp() + c)
    return (-yes.log().sum(1) - no.log().sum(1)).mean()
""",
)
wrong(
    E,
    "minus forgotten: returns the log-likelihood",
    """
    total = 0
    B, K = negative.shape
    for b in range(B):
        total = total + torch.log(positive[b, 0].exp() / (positive[b, 0].exp() + K * Z))
        for k in range(K):
            total = total + torch.log(K * Z / (negative[b, k].exp() + K * Z))
    return total / B
""",
)

# ------------------------------------------------------------------ 02 partition_constant
E = "partition_constant"
right(
    E,
    "numpy",
    """
    return float(np.mean(np.exp(negative.detach().cpu().numpy())))
""",
    before="import numpy as np\n",
)
wrong(
    E,
    "subtracts the largest score first, as in a stable softmax, and does not put it back",
    """
    n = negative.detach()
    return (n - n.max()).exp().mean()
""",
)
wrong(
    E,
    "the mean over the queries: K values",
    """
    with torch.no_grad():
        return torch.exp(negative).mean(0)
""",
)
wrong(
    E,
    "divides by the number of queries only",
    """
    return negative.detach().exp().sum() / len(negative)
""",
)
wrong(
    E,
    "divides by the temperature once more",
    """
    return torch.exp(negative.detach() / 0.07).mean()
""",
)

# ------------------------------------------------------------------ 02 nce_gradient
E = "nce_gradient"
open_(
    E,
    "autograd, which the text rules out (value right)",
    """
    q = query.detach().clone().requires_grad_()
    u = q / q.norm()
    c = math.log(len(others) * Z)
    loss = F.softplus(c - note @ u / temperature) + F.softplus(others @ u / temperature - c).sum()
    return torch.autograd.grad(loss, q)[0]
""",
)
wrong(
    E,
    "subtracts the number <g, v> instead of the vector <g, v> v",
    """
    c = math.log(len(others) * Z)
    p = torch.sigmoid(others @ query / temperature - c)
    r = torch.sigmoid(note @ query / temperature - c)
    g = (p @ others - (1 - r) * note) / temperature
    return g - g @ query
""",
)
wrong(
    E,
    "removes the part along the note instead of along the query",
    """
    c = math.log(len(others) * Z)
    p = torch.sigmoid(others @ query / temperature - c)
    r = torch.sigmoid(note @ query / temperature - c)
    g = (p @ others - (1 - r) * note) / temperature
    return g - (g @ note) * note
""",
)
wrong(
    E,
    "softmax instead of P(real)",
    """
    s = torch.cat([note[None], others]) @ query / temperature
    p = s.softmax(0)
    g = (p[1:] @ others - (1 - p[0]) * note) / temperature
    return g - (g @ query) * query
""",
)
wrong(
    E,
    "no K in K Z, in a loop",
    """
    def real(x):
        e = torch.exp(x @ query / temperature)
        return e / (e + Z)
    g = torch.zeros_like(query)
    for o in others:
        g += real(o) * o
    g -= (1 - real(note)) * note
    g /= temperature
    return g - query * (g * query).sum()
""",
)
wrong(
    E,
    "only the pull is projected",
    """
    c = math.log(len(others) * Z)
    flat = lambda x: x - (x @ query) * query
    pull = (1 - torch.sigmoid(note @ query / temperature - c)) * note
    push = torch.sigmoid(others @ query / temperature - c) @ others
    return (push - flat(pull)) / temperature
""",
)
wrong(
    E,
    "the result is normalised to length one",
    """
    c = math.log(len(others) * Z)
    p = torch.sigmoid(others @ query / temperature - c)
    r = torch.sigmoid(note @ query / temperature - c)
    g = (p @ others - (1 - r) * note) / temperature
    g = g - (g @ query) * query
    return F.normalize(g, dim=0)
""",
)
wrong(
    E,
    "two mistakes: no projection, and no 1 / T",
    """
    c = math.log(len(others) * Z)
    p = torch.sigmoid(others @ query / temperature - c)
    r = torch.sigmoid(note @ query / temperature - c)
    return p @ others - (1 - r) * note
""",
)

# ------------------------------------------------------------------ 02 sample_negatives
E = "sample_negatives"
right(
    E,
    "uniform numbers, floor, shift by where",
    """
    u = torch.rand(len(index), K, generator=generator)
    d = (u * (N - 1)).long()
    return torch.where(d < index[:, None], d, d + 1)
""",
)
wrong(
    E,
    "the last instance is never drawn: randint's upper end is exclusive",
    """
    draw = torch.randint(0, N - 2, (len(index), K), generator=generator)
    return draw + (draw >= index[:, None])
""",
)
wrong(
    E,
    "leaves out all queries of the batch",
    """
    allowed = torch.tensor([i for i in range(N) if i not in index.tolist()])
    return allowed[torch.randint(len(allowed), (len(index), K), generator=generator)]
""",
)
wrong(
    E,
    "a generator of its own with a fixed seed: the same draw at every step",
    """
    g = torch.Generator().manual_seed(0)
    draw = torch.randint(N - 1, (len(index), K), generator=g)
    return draw + (draw >= index[:, None])
""",
)
wrong(
    E,
    "shape (K, B)",
    """
    draw = torch.randint(N - 1, (K, len(index)), generator=generator)
    return draw + (draw >= index)
""",
)
wrong(
    E,
    "floating-point numbers instead of instances",
    """
    draw = torch.floor(torch.rand(len(index), K, generator=generator) * (N - 1))
    return draw + (draw >= index[:, None])
""",
)
wrong(
    E,
    "negatives from the other clips of the batch",
    """
    B = len(index)
    shift = torch.randint(1, B, (B, K), generator=generator)
    return index[(torch.arange(B)[:, None] + shift) % B]
""",
)

# ------------------------------------------------------------------ 02 memory_update
E = "memory_update"
right(
    E,
    "numpy and back",
    """
    new = memory.detach().numpy().copy()
    mix = momentum * new[index.numpy()] + (1 - momentum) * embedding.detach().numpy()
    new[index.numpy()] = mix / np.linalg.norm(mix, axis=1, keepdims=True)
    return torch.from_numpy(new)
""",
    before="import numpy as np\n",
)
wrong(
    E,
    "writes to the first B rows",
    """
    out = memory.clone()
    B = embedding.shape[0]
    x = momentum * memory[:B] + (1 - momentum) * embedding.detach()
    out[:B] = F.normalize(x, dim=1)
    return out
""",
)
wrong(
    E,
    "divides by the squared length",
    """
    out = memory.clone()
    x = momentum * memory[index] + (1 - momentum) * embedding.detach()
    out[index] = x / (x * x).sum(1, keepdim=True)
    return out
""",
)
wrong(
    E,
    "divides by the length of all rows together",
    """
    out = memory.clone()
    x = momentum * memory[index] + (1 - momentum) * embedding.detach()
    out[index] = x / x.norm()
    return out
""",
)
wrong(
    E,
    "the old note keeps its full weight: m * old is missing",
    """
    out = memory.clone()
    out[index] += (1 - momentum) * embedding.detach()
    return F.normalize(out, dim=1)
""",
)
wrong(
    E,
    "ignores momentum: the note is replaced",
    """
    out = memory.clone()
    for n, i in enumerate(index.tolist()):
        out[i] = F.normalize(embedding[n].detach(), dim=0)
    return out
""",
)
wrong(
    E,
    "two mistakes: momentum swapped, and no detach",
    """
    out = memory.clone()
    out[index] = F.normalize((1 - momentum) * memory[index] + momentum * embedding, dim=1)
    return out
""",
)

# ------------------------------------------------------------------ 03 cross_terms
E = "cross_terms"
open_(
    E,
    "lists instead of tuples as pairs",
    """
    def scores(q, m):
        return [(q * m[index]).sum(1, keepdim=True) / temperature, torch.einsum("bd,bkd->bk", q, m[negatives]) / temperature]
    return {"v2a": scores(video, audio_memory), "a2v": scores(audio, video_memory)}
""",
)
wrong(
    E,
    "copied line not changed: the negatives of a2v are notes of sounds",
    """
    vp = (video * audio_memory[index]).sum(1, keepdim=True) / temperature
    vn = torch.einsum("bd,bkd->bk", video, audio_memory[negatives]) / temperature
    ap = (audio * video_memory[index]).sum(1, keepdim=True) / temperature
    an = torch.einsum("bd,bkd->bk", audio, audio_memory[negatives]) / temperature
    return {"v2a": (vp, vn), "a2v": (ap, an)}
""",
)
wrong(
    E,
    "copied line not changed: the positive of a2v is asked by the picture",
    """
    v2a_pos = torch.sum(video * audio_memory[index], dim=1, keepdim=True) / temperature
    v2a_neg = torch.bmm(audio_memory[negatives], video.unsqueeze(2)).squeeze(2) / temperature
    a2v_pos = torch.sum(video * video_memory[index], dim=1, keepdim=True) / temperature
    a2v_neg = torch.bmm(video_memory[negatives], audio.unsqueeze(2)).squeeze(2) / temperature
    return {"v2a": (v2a_pos, v2a_neg), "a2v": (a2v_pos, a2v_neg)}
""",
)
wrong(
    E,
    "the first query's negatives for all queries",
    """
    def scores(q, m):
        return (q * m[index]).sum(1, keepdim=True) / temperature, q @ m[negatives[0]].T / temperature
    return {"v2a": scores(video, audio_memory), "a2v": scores(audio, video_memory)}
""",
)
wrong(
    E,
    "gradients do not reach the embeddings (detach on the wrong side)",
    """
    v, a = video.detach(), audio.detach()
    def scores(q, m):
        return (q * m[index]).sum(1, keepdim=True) / temperature, torch.einsum("bd,bkd->bk", q, m[negatives]) / temperature
    return {"v2a": scores(v, audio_memory), "a2v": scores(a, video_memory)}
""",
)
wrong(
    E,
    "one pair of tensors instead of a dictionary of two",
    """
    v2a = (video * audio_memory[index]).sum(1, keepdim=True) / temperature, torch.einsum("bd,bkd->bk", video, audio_memory[negatives]) / temperature
    a2v = (audio * video_memory[index]).sum(1, keepdim=True) / temperature, torch.einsum("bd,bkd->bk", audio, video_memory[negatives]) / temperature
    return v2a, a2v
""",
)
wrong(
    E,
    "exponentials of the scores",
    """
    def scores(q, m):
        pos = (q * m[index]).sum(1, keepdim=True)
        neg = (q[:, None] * m[negatives]).sum(-1)
        return torch.exp(pos / temperature), torch.exp(neg / temperature)
    return {"v2a": scores(video, audio_memory), "a2v": scores(audio, video_memory)}
""",
)

# ------------------------------------------------------------------ 03 cross_avid
E = "cross_avid"
open_(
    E,
    "losses as a list of Python numbers",
    avid(
        ("losses.append(loss.detach())", "losses.append(loss.item())"),
        ("torch.stack(losses), *notes", "losses, notes[0], notes[1]"),
    ),
)
wrong(
    E,
    "Z is not detached: the second step goes back through the first step's graph",
    avid(("negative.detach().exp().mean()", "negative.exp().mean()")),
)
wrong(
    E,
    "copied line not changed: the notes of sounds get the pictures' embeddings",
    """
    w, u = video_head.clone().requires_grad_(), audio_head.clone().requires_grad_()
    mv, ma = video_memory.clone(), audio_memory.clone()
    losses, Z1, Z2 = [], None, None
    for s in range(len(batches)):
        i, n = batches[s], negatives[s]
        v, a = F.normalize(video[i] @ w, dim=1), F.normalize(audio[i] @ u, dim=1)
        p1, n1 = (v * ma[i]).sum(1, keepdim=True) / temperature, torch.einsum("bd,bkd->bk", v, ma[n]) / temperature
        p2, n2 = (a * mv[i]).sum(1, keepdim=True) / temperature, torch.einsum("bd,bkd->bk", a, mv[n]) / temperature
        if s == 0:
            Z1, Z2 = n1.exp().mean().detach(), n2.exp().mean().detach()
        loss = (al.nce_loss(p1, n1, Z1) + al.nce_loss(p2, n2, Z2)) / 2
        gw, gu = torch.autograd.grad(loss, [w, u])
        w, u = (w - rate * gw).detach().requires_grad_(), (u - rate * gu).detach().requires_grad_()
        mv[i] = F.normalize(momentum * mv[i] + (1 - momentum) * v.detach(), dim=1)
        ma[i] = F.normalize(momentum * ma[i] + (1 - momentum) * v.detach(), dim=1)
        losses.append(loss.detach())
    return torch.stack(losses), mv, ma
""",
)
wrong(
    E,
    "takes the rows of the step's number instead of the batch's clips",
    avid(("F.normalize(x[index] @ h, dim=1) for", "F.normalize(x[: len(index)] @ h, dim=1) for")),
)
wrong(
    E,
    "only the video head learns",
    avid(
        (
            "heads = [(h - rate * g).detach().requires_grad_() for h, g in zip(heads, grads)]",
            "heads[0] = (heads[0] - rate * grads[0]).detach().requires_grad_()",
        )
    ),
)
wrong(E, "the learning rate is divided by the batch size", avid(("h - rate * g", "h - rate / len(index) * g")))
wrong(
    E,
    "returns the notes in the wrong order",
    avid(("torch.stack(losses), *notes", "torch.stack(losses), notes[1], notes[0]")),
)
wrong(
    E,
    "forgets the momentum: notes are replaced",
    avid(("momentum * notes[which][index] + (1 - momentum) * now[which].detach()", "now[which].detach()")),
)
wrong(
    E,
    "the temperature divides only the negatives",
    avid(
        (
            "positive = (now[asks] * notes[answers][index]).sum(1, keepdim=True) / temperature",
            "positive = (now[asks] * notes[answers][index]).sum(1, keepdim=True)",
        )
    ),
)
wrong(
    E,
    "the sounds' notes are updated before the sounds' query is compared",
    """
    heads = [video_head.clone().requires_grad_(), audio_head.clone().requires_grad_()]
    notes = [video_memory.clone(), audio_memory.clone()]
    Z, losses = {}, []
    for index, drawn in zip(batches, negatives):
        now = [F.normalize(x[index] @ h, dim=1) for x, h in zip((video, audio), heads)]
        loss = 0
        for asks, answers in ((0, 1), (1, 0)):
            positive = (now[asks] * notes[answers][index]).sum(1, keepdim=True) / temperature
            negative = torch.einsum("bd,bkd->bk", now[asks], notes[answers][drawn]) / temperature
            Z.setdefault(asks, negative.detach().exp().mean())
            loss = loss + al.nce_loss(positive, negative, Z[asks]) / 2
            mixed = momentum * notes[asks][index] + (1 - momentum) * now[asks].detach()
            new = notes[asks].clone()
            new[index] = F.normalize(mixed, dim=1)
            notes[asks] = new
        grads = torch.autograd.grad(loss, heads)
        heads = [(h - rate * g).detach().requires_grad_() for h, g in zip(heads, grads)]
        losses.append(loss.detach())
    return torch.stack(losses), *notes
""",
)

# ------------------------------------------------------------------ 04 similarity_auc
E = "similarity_auc"
right(
    E,
    "scipy's Mann-Whitney test",
    """
    u = mannwhitneyu(same.numpy(), different.numpy()).statistic
    return u / (len(same) * len(different))
""",
    before="from scipy.stats import mannwhitneyu\n",
)
right(
    E,
    "ranks by two argsorts would break ties; average ranks by hand",
    """
    both = torch.cat([same, different]).double()
    rank = (both[:, None] > both[None]).sum(1) + ((both[:, None] == both[None]).sum(1) + 1) / 2
    S, T = len(same), len(different)
    return (rank[:S].sum() - S * (S + 1) / 2) / (S * T)
""",
)
wrong(
    E,
    "compares only as many pairs as there are of the rarer kind, one with one",
    """
    n = min(len(same), len(different))
    s, d = same[:n], different[:n]
    return ((s > d).double() + 0.5 * (s == d).double()).mean()
""",
)
wrong(
    E,
    "compares each same pair with the mean of the different ones",
    """
    m = different.mean()
    return (same > m).double().mean() + 0.5 * (same == m).double().mean()
""",
)
wrong(
    E,
    "2 AUC - 1",
    """
    return torch.sign(same[:, None] - different[None]).mean()
""",
)
wrong(
    E,
    "area under a curve over 100 thresholds: ties and neighbours are lost",
    """
    t = torch.linspace(1, -1, 101)
    tpr = (same[None] >= t[:, None]).float().mean(1)
    fpr = (different[None] >= t[:, None]).float().mean(1)
    return torch.trapezoid(tpr, fpr)
""",
)
wrong(
    E,
    "the mean gap instead of how often it is positive",
    """
    return (same[:, None] - different[None]).mean()
""",
)

# ------------------------------------------------------------------ 04 reliability
E = "reliability"
right(
    E,
    "numpy's histogram with weights",
    """
    c, y = confidence.double().numpy(), correct.double().numpy()
    n = np.histogram(c, bins, (0, 1))[0]
    with np.errstate(invalid="ignore"):
        a = np.histogram(c, bins, (0, 1), weights=c)[0] / n
        b = np.histogram(c, bins, (0, 1), weights=y)[0] / n
    return torch.tensor(a), torch.tensor(b)
""",
    before="import numpy as np\n",
)
right(
    E,
    "scatter_add into zeros",
    """
    b = (confidence * bins).to(torch.int64)
    b[b == bins] = bins - 1
    n, c, y = torch.zeros(3, bins, dtype=torch.float64)
    n.scatter_add_(0, b, torch.ones(len(b), dtype=torch.float64))
    c.scatter_add_(0, b, confidence.double())
    y.scatter_add_(0, b, correct.double())
    return c / n, y / n
""",
)
wrong(
    E,
    "bins closed on the right: an edge belongs to the bin below",
    """
    conf, acc = [], []
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        conf.append(confidence[inside].mean())
        acc.append(correct[inside].double().mean())
    return torch.stack(conf), torch.stack(acc)
""",
)
wrong(
    E,
    "the two results in the wrong order",
    """
    place = (confidence * bins).long().clamp(max=bins - 1)
    n = place.bincount(minlength=bins)
    return place.bincount(correct.double(), minlength=bins) / n, place.bincount(confidence, minlength=bins) / n
""",
)
wrong(
    E,
    "a bin of its own for 1.0: bins + 1 rows",
    """
    place = (confidence * bins).long()
    n = place.bincount(minlength=bins)
    return place.bincount(confidence, minlength=bins) / n, place.bincount(correct.double(), minlength=bins) / n
""",
)
wrong(
    E,
    "share correct means: is the prediction (confidence at least 0.5) right",
    """
    place = (confidence * bins).long().clamp(max=bins - 1)
    n = place.bincount(minlength=bins)
    hit = (confidence >= 0.5) == correct
    return place.bincount(confidence, minlength=bins) / n, place.bincount(hit.double(), minlength=bins) / n
""",
)
wrong(
    E,
    "bins between the smallest and the largest confidence instead of [0, 1]",
    """
    lo, hi = confidence.min(), confidence.max()
    place = ((confidence - lo) / (hi - lo) * bins).long().clamp(max=bins - 1)
    n = place.bincount(minlength=bins)
    return place.bincount(confidence, minlength=bins) / n, place.bincount(correct.double(), minlength=bins) / n
""",
)

# ------------------------------------------------------------------ 05 consensus_scores
E = "consensus_scores"
right(
    E,
    "cosine_similarity with broadcasting",
    """
    x = F.cosine_similarity(video_query[:, None], video[None], dim=-1)
    y = F.cosine_similarity(audio_query[:, None], audio[None], dim=-1)
    return torch.min(x, y)
""",
)
ANSWERS[-1]["words"] += " (F is not imported in notebook 05)"
ANSWERS[-1]["kind"] = "open"
wrong(
    E,
    "product of the two",
    """
    return (video_query @ video.T) * (audio_query @ audio.T)
""",
)
wrong(
    E,
    "the smallest over all clips of each query",
    """
    x = torch.minimum(video_query @ video.T, audio_query @ audio.T)
    return x.min(dim=1).values
""",
)
wrong(
    E,
    "min of both senses in one long vector: the smallest over everything",
    """
    return torch.min(torch.cat([video_query @ video.T, audio_query @ audio.T], dim=1))
""",
)
wrong(
    E,
    "absolute values: opposite counts as alike",
    """
    return torch.minimum((video_query @ video.T).abs(), (audio_query @ audio.T).abs())
""",
)
wrong(
    E,
    "similarity of the concatenated embeddings",
    """
    q = torch.cat([video_query, audio_query], 1)
    m = torch.cat([video, audio], 1)
    return q @ m.T / 2
""",
)
wrong(
    E,
    "distances instead of similarities",
    """
    return torch.minimum(torch.cdist(video_query, video), torch.cdist(audio_query, audio))
""",
)

# ------------------------------------------------------------------ 05 top_k_positives
E = "top_k_positives"
right(
    E,
    "takes k + 1 and drops the query, or the last if it is not among them",
    """
    rows = []
    for i in range(len(score)):
        order = torch.argsort(score[i], descending=True, stable=True).tolist()
        order.remove(i)
        rows.append(order[:k])
    return torch.LongTensor(rows)
""",
)
open_(
    E,
    "plain topk (ties undefined), as a message of the badge suggests",
    """
    s = score.clone()
    s.fill_diagonal_(float("-inf"))
    return s.topk(k, dim=1).indices
""",
)
wrong(
    E,
    "the query's column is removed before sorting: later clips get a number too small",
    """
    rows = []
    for i in range(len(score)):
        others = torch.cat([score[i, :i], score[i, i + 1:]])
        rows.append(others.argsort(descending=True, stable=True)[:k])
    return torch.stack(rows)
""",
)
wrong(
    E,
    "sorted by number instead of best first",
    """
    s = score.clone().fill_diagonal_(-torch.inf)
    return s.sort(dim=1, descending=True, stable=True).indices[:, :k].sort(dim=1).values
""",
)
wrong(
    E,
    "k - 1: counts from 1",
    """
    s = score.clone().fill_diagonal_(-torch.inf)
    return s.sort(dim=1, descending=True, stable=True).indices[:, 1:k]
""",
)
wrong(
    E,
    "excludes the query, then also drops the first",
    """
    s = score.clone().fill_diagonal_(-torch.inf)
    return s.sort(dim=1, descending=True, stable=True).indices[:, 1 : k + 1]
""",
)
wrong(
    E,
    "a table of True and False instead of numbers",
    """
    s = score.clone().fill_diagonal_(-torch.inf)
    cut = s.sort(dim=1, descending=True).values[:, k - 1 : k]
    return s >= cut
""",
)

# ------------------------------------------------------------------ 05 precision_at_k
E = "precision_at_k"
right(
    E,
    "gather and sum over size",
    """
    theirs = torch.gather(labels.expand(len(labels), -1), 1, positives)
    mine = labels.view(-1, 1).expand_as(positives)
    return torch.eq(theirs, mine).sum() / positives.numel()
""",
)
wrong(
    E,
    "a count instead of a share",
    """
    return (labels[positives] == labels[:, None]).sum()
""",
)
wrong(
    E,
    "the hits of a query divided by N",
    """
    hits = (labels[positives] == labels[:, None]).sum(1)
    return (hits / len(labels)).mean()
""",
)
wrong(
    E,
    "mean over classes instead of over queries",
    """
    each = (labels[positives] == labels[:, None]).float().mean(1)
    return torch.stack([each[labels == c].mean() for c in labels.unique()]).mean()
""",
)
wrong(
    E,
    "compares with the class of the first positive instead of the query's",
    """
    found = labels[positives]
    return (found == found[:, :1]).double().mean()
""",
)
wrong(
    E,
    "only looks at the best positive",
    """
    return (labels[positives[:, 0]] == labels).float().mean()
""",
)
wrong(
    E,
    "asks whether all positives are right",
    """
    good = 0
    for i in range(len(positives)):
        if all(labels[j] == labels[i] for j in positives[i]):
            good += 1
    return good / len(positives)
""",
)

# ------------------------------------------------------------------ 06 cma_negatives
E = "cma_negatives"
right(
    E,
    "draw among N - 1 - P and move up past the excluded ones in order",
    """
    out = torch.cat([index[:, None], positives[index]], 1).sort(1).values
    draw = torch.randint(N - out.shape[1], (len(index), K), generator=generator)
    for column in out.T:
        draw = draw + (draw >= column[:, None])
    return draw
""",
)
wrong(
    E,
    "only the best positive is excluded",
    """
    w = torch.ones(len(index), N)
    rows = torch.arange(len(index))
    w[rows, index] = 0
    w[rows, positives[index][:, 0]] = 0
    return torch.multinomial(w, K, replacement=True, generator=generator)
""",
)
wrong(
    E,
    "a hit is moved to the next instance: not uniform",
    """
    bad = torch.zeros(len(index), N, dtype=torch.bool)
    bad.scatter_(1, positives[index], True)
    bad.scatter_(1, index[:, None], True)
    draw = torch.randint(N, (len(index), K), generator=generator)
    while bad.gather(1, draw).any():
        draw = torch.where(bad.gather(1, draw), (draw + 1) % N, draw)
    return draw
""",
)
wrong(
    E,
    "excludes clips that have the query among THEIR positives",
    """
    w = torch.ones(len(index), N)
    for b, i in enumerate(index.tolist()):
        w[b, (positives == i).any(1)] = 0
        w[b, i] = 0
    return torch.multinomial(w, K, replacement=True, generator=generator)
""",
)
wrong(
    E,
    "draws the positives themselves (weights upside down)",
    """
    w = torch.zeros(len(index), N)
    w.scatter_(1, positives[index], 1)
    w.scatter_(1, index[:, None], 0)
    return torch.multinomial(w, K, replacement=True, generator=generator)
""",
)
wrong(
    E,
    "hits are replaced by instance 0",
    """
    draw = torch.randint(N, (len(index), K), generator=generator)
    hit = (draw[:, :, None] == positives[index][:, None]).any(2) | (draw == index[:, None])
    draw[hit] = 0
    return draw
""",
)
wrong(
    E,
    "no positives excluded, only the query",
    """
    draw = torch.randint(N - 1, (len(index), K), generator=generator)
    return draw + (draw >= index[:, None])
""",
)

# ------------------------------------------------------------------ 06 within_positive_loss
E = "within_positive_loss"
right(
    E,
    "the NCE of notebook 02 once for each positive, then the mean",
    """
    neg = torch.einsum("bd,bkd->bk", video, video_memory[negatives]) / temperature
    parts = []
    for column in positives.T:
        pos = (video * video_memory[column]).sum(1, keepdim=True) / temperature
        parts.append(al.nce_loss(pos, neg, Z))
    return sum(parts) / len(parts)
""",
)
wrong(
    E,
    "averages the scores of the positives before the loss",
    """
    yes = torch.einsum("bd,bpd->bp", video, video_memory[positives]).mean(1, keepdim=True) / temperature
    no = torch.einsum("bd,bkd->bk", video, video_memory[negatives]) / temperature
    KZ = negatives.shape[1] * Z
    p = yes.exp() / (yes.exp() + KZ)
    q = KZ / (no.exp() + KZ)
    return (-p.log().sum(1) - q.log().sum(1)).mean()
""",
)
wrong(
    E,
    "only the best positive counts",
    """
    yes = torch.einsum("bd,bpd->bp", video, video_memory[positives]).max(1, keepdim=True).values / temperature
    no = torch.einsum("bd,bkd->bk", video, video_memory[negatives]) / temperature
    c = math.log(negatives.shape[1] * Z)
    return (F.softplus(c - yes).mean(1) + F.softplus(no - c).sum(1)).mean()
""",
)
wrong(
    E,
    "the negatives' sum is divided by P, too",
    """
    yes = torch.einsum("bd,bpd->bp", video, video_memory[positives]) / temperature
    no = torch.einsum("bd,bkd->bk", video, video_memory[negatives]) / temperature
    c = math.log(negatives.shape[1] * Z)
    P = positives.shape[1]
    return ((F.softplus(c - yes).sum(1) + F.softplus(no - c).sum(1)) / P).mean()
""",
)
wrong(
    E,
    "compares with the query's row of the memory instead of the positives'",
    """
    B = len(video)
    yes = (video * video_memory[:B]).sum(1, keepdim=True) / temperature
    no = torch.einsum("bd,bkd->bk", video, video_memory[negatives]) / temperature
    c = math.log(negatives.shape[1] * Z)
    return (F.softplus(c - yes).mean(1) + F.softplus(no - c).sum(1)).mean()
""",
)
wrong(
    E,
    "K counts the positives, too: (K + P) Z",
    """
    ids = torch.cat([positives, negatives], 1)
    s = torch.einsum("bd,bnd->bn", video, video_memory[ids]) / temperature
    P = positives.shape[1]
    c = math.log(ids.shape[1] * Z)
    return (F.softplus(c - s[:, :P]).mean(1) + F.softplus(s[:, P:] - c).sum(1)).mean()
""",
)
wrong(
    E,
    "softmax: each positive against the negatives",
    """
    yes = torch.einsum("bd,bpd->bp", video, video_memory[positives]) / temperature
    no = torch.einsum("bd,bkd->bk", video, video_memory[negatives]) / temperature
    both = torch.cat([yes, no], 1)
    return (both.logsumexp(1, keepdim=True) - yes).mean()
""",
)
wrong(
    E,
    "sum over the batch",
    """
    yes = torch.einsum("bd,bpd->bp", video, video_memory[positives]) / temperature
    no = torch.einsum("bd,bkd->bk", video, video_memory[negatives]) / temperature
    c = math.log(negatives.shape[1] * Z)
    return F.softplus(c - yes).mean(1).sum() + F.softplus(no - c).sum()
""",
)

# ------------------------------------------------------------------ 06 remined
E = "remined"
right(
    E,
    "the library's mining, share in numpy",
    """
    if epoch - mined_at >= every:
        new = al.mine_positives(video, audio, positives.shape[1]).index
        fresh = [np.setdiff1d(a, b).size for a, b in zip(new.numpy(), positives.numpy())]
        return new, epoch, sum(fresh) / new.numel()
    return positives, mined_at, 0.0
""",
    before="import numpy as np\n",
)
wrong(E, "the question is upside down: mines if it is NOT due", mining(due="epoch - mined_at >= every"))
wrong(E, "due at pass `every`, not `every` passes after mined_at", mining(due="epoch < every"))
wrong(
    E,
    "returns a pair of two when nothing is due",
    """
    if epoch - mined_at < every:
        return positives, mined_at
    score = torch.minimum(video @ video.T, audio @ audio.T).fill_diagonal_(-torch.inf)
    found = score.sort(dim=1, descending=True, stable=True).indices[:, : positives.shape[1]]
    new = ~(found[:, :, None] == positives[:, None]).any(2)
    return found, epoch, new.double().mean().item()
""",
)
wrong(
    E,
    "returns the present pass although nothing was mined",
    """
    share = 0.0
    if epoch - mined_at >= every:
        score = torch.minimum(video @ video.T, audio @ audio.T)
        score.fill_diagonal_(-torch.inf)
        found = score.sort(dim=1, descending=True, stable=True).indices[:, : positives.shape[1]]
        share = (~(found[:, :, None] == positives[:, None]).any(2)).double().mean().item()
        positives = found
    return positives, epoch, share
""",
)
wrong(
    E,
    "number of new positives instead of their share",
    mining(share="share = (~(found[:, :, None] == positives[:, None]).any(2)).sum().item()"),
)
wrong(
    E,
    "share of queries with anything new",
    mining(share="share = (~(found[:, :, None] == positives[:, None]).any(2)).any(1).double().mean().item()"),
)
wrong(
    E,
    "agreement across the senses: pictures with sounds",
    mining(rule="torch.minimum").replace("video @ video.T, audio @ audio.T", "video @ audio.T, audio @ video.T"),
)
wrong(
    E,
    "average instead of consensus",
    mining().replace("torch.minimum(video @ video.T, audio @ audio.T)", "(video @ video.T + audio @ audio.T) / 2"),
)

# ------------------------------------------------------------------ 07 my_loss
E = "my_loss"
right(
    E,
    "the Bradley-Terry loss of all pairs",
    """
    d = positive.unsqueeze(-1) - negative.unsqueeze(1)
    return torch.log1p(torch.exp(-d.clamp(min=-80))).mean()
""",
)
ANSWERS[-1]["kind"] = "open"
ANSWERS[-1]["words"] += " (clamped: no slope for hopeless pairs)"
open_(
    E,
    "squares: positives towards 1 / 0.07, negatives towards 0",
    """
    return (positive - 1 / 0.07).square().mean() + negative.square().mean()
""",
)
right(
    E,
    "hinge with the hardest negative",
    """
    hardest = negative.max(dim=1, keepdim=True).values
    return F.relu(2 + hardest - positive).mean()
""",
)
wrong(
    E,
    "works for one positive only: shapes do not fit if P is larger",
    """
    return (1 + negative - positive).clamp(min=0).mean()
""",
)
wrong(
    E,
    "the positives are detached",
    """
    return F.softplus(negative - positive.detach().mean(1, keepdim=True)).mean()
""",
)
wrong(
    E,
    "softmax over the batch axis instead of the candidates",
    """
    scores = torch.cat([positive[:, :1], negative], dim=1)
    return -F.log_softmax(scores, dim=0)[:, 0].mean()
""",
)
wrong(
    E,
    "pulls the negatives: plus and minus swapped inside the softplus",
    """
    return F.softplus(positive.mean(1, keepdim=True) - negative).mean()
""",
)
wrong(
    E,
    "forgot return",
    """
    loss = F.softplus(-positive).mean() + F.softplus(negative).mean()
""",
)
wrong(
    E,
    "only the first positive is used",
    """
    scores = torch.cat([positive[:, :1], negative], dim=1)
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))
""",
)
ANSWERS[-1]["kind"] = "open"

# ------------------------------------------------------------------ 08 recall_at_k
E = "recall_at_k"
right(
    E,
    "numpy, sort each row without its target",
    """
    s = score.numpy()
    n = len(s)
    own = s[np.arange(n), np.arange(n)]
    others = s[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    return np.mean(np.sum(others >= own[:, None], axis=1) < k)
""",
    before="import numpy as np\n",
)
wrong(
    E,
    "argsort taken for ranks: which item is at place i, not which place item i has",
    """
    order = score.argsort(dim=1, descending=True)
    return (order.diagonal() < k).double().mean()
""",
)
wrong(
    E,
    "the lowest scores count as best (ascending)",
    """
    rank = (score <= score.diagonal()[:, None]).sum(1)
    return (rank <= k).double().mean()
""",
)
wrong(
    E,
    "ignores k: is the target the best",
    """
    return (score.argmax(1) == torch.arange(len(score))).double().mean()
""",
)
wrong(
    E,
    "one value for each query",
    """
    rank = (score >= score.diagonal()[:, None]).sum(1)
    return (rank <= k).double()
""",
)
wrong(
    E,
    "divides the hits by N k",
    """
    hits = 0
    for i in range(len(score)):
        place = int((score[i] >= score[i, i]).sum())
        hits += place <= k
    return hits / (len(score) * k)
""",
)
wrong(
    E,
    "counts items among all pairs above the diagonal's mean",
    """
    rank = (score >= score.diagonal().mean()).sum(1)
    return (rank <= k).double().mean()
""",
)
wrong(
    E,
    "in per cent",
    """
    rank = (score >= score.diagonal()[:, None]).sum(1)
    return 100 * (rank <= k).float().mean()
""",
)

# ------------------------------------------------------------------ 08 knn_predict
E = "knn_predict"
right(
    E,
    "numpy, loops",
    """
    a, b, y = train.numpy(), test.numpy(), train_labels.numpy()
    a = a / np.linalg.norm(a, axis=1, keepdims=True)
    out = []
    for x in b:
        best = np.argsort(-(a @ x), kind="stable")[:k]
        names, counts = np.unique(y[best], return_counts=True)
        out.append(names[counts.argmax()])
    return np.array(out)
""",
    before="import numpy as np\n",
)
wrong(
    E,
    "drops the nearest as if it were the clip itself",
    """
    s = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    near = s.topk(k + 1, dim=1).indices[:, 1:]
    return train_labels[near].mode(1).values
""",
)
wrong(
    E,
    "only the nearest decides",
    """
    s = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    return train_labels[s.argmax(1)]
""",
)
wrong(
    E,
    "the mean of the labels, rounded",
    """
    s = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    near = s.topk(k, dim=1).indices
    return train_labels[near].float().mean(1).round().long()
""",
)
wrong(
    E,
    "the nearest class mean instead of neighbours",
    """
    C = int(train_labels.max()) + 1
    centre = torch.stack([train[train_labels == c].mean(0) for c in range(C)])
    return (F.normalize(test, dim=1) @ F.normalize(centre, dim=1).T).argmax(1)
""",
)
wrong(
    E,
    "the k farthest",
    """
    s = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    near = s.topk(k, dim=1, largest=False).indices
    return train_labels[near].mode(1).values
""",
)
wrong(
    E,
    "the vote is counted for each rank over the test clips (wrong axis of the mode)",
    """
    s = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    return train_labels[s.topk(k, dim=1).indices].mode(0).values
""",
)
wrong(
    E,
    "ties go to the higher class",
    """
    s = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    votes = F.one_hot(train_labels[s.topk(k, dim=1).indices]).sum(1)
    C = votes.shape[1]
    return C - 1 - votes.flip(1).argmax(1)
""",
)

# ------------------------------------------------------------------ 08 linear_probe_step
E = "linear_probe_step"
right(
    E,
    "torch.optim.SGD on clones",
    """
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight.clone(), bias.clone()
    layer.to(weight.dtype)
    opt = torch.optim.SGD(layer.parameters(), lr=learning_rate)
    F.cross_entropy(layer(features.detach()), labels).backward()
    opt.step()
    return layer.weight.detach(), layer.bias.detach()
""",
)
wrong(
    E,
    "squared error instead of cross-entropy",
    """
    w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    y = F.one_hot(labels, len(bias)).float()
    loss = ((features @ w.T + b - y) ** 2).mean()
    gw, gb = torch.autograd.grad(loss, (w, b))
    return w - learning_rate * gw, b - learning_rate * gb
""",
)
wrong(
    E,
    "cross-entropy of probabilities: softmax twice",
    """
    w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    p = (features @ w.T + b).softmax(1)
    gw, gb = torch.autograd.grad(F.cross_entropy(p, labels), (w, b))
    return w - learning_rate * gw, b - learning_rate * gb
""",
)
wrong(
    E,
    "the bias's gradient is computed with the new weight",
    """
    n = len(labels)
    y = F.one_hot(labels, len(bias))
    new_w = weight - learning_rate * ((features @ weight.T + bias).softmax(1) - y).T @ features / n
    new_b = bias - learning_rate * ((features @ new_w.T + bias).softmax(1) - y).sum(0) / n
    return new_w, new_b
""",
)
wrong(
    E,
    "forgets the learning rate",
    """
    wrong = ((features @ weight.T + bias).softmax(1) - F.one_hot(labels, len(bias))) / len(labels)
    return weight - wrong.T @ features, bias - wrong.sum(0)
""",
)
wrong(
    E,
    "divides by the number of classes instead of the batch",
    """
    wrong = ((features @ weight.T + bias).softmax(1) - F.one_hot(labels, len(bias))) / len(bias)
    return weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.sum(0)
""",
)
wrong(
    E,
    "returns the gradients",
    """
    wrong = ((features @ weight.T + bias).softmax(1) - F.one_hot(labels, len(bias))) / len(labels)
    return wrong.T @ features, wrong.sum(0)
""",
)
wrong(
    E,
    "normalises the features first",
    """
    features = F.normalize(features, dim=1)
    wrong = ((features @ weight.T + bias).softmax(1) - F.one_hot(labels, len(bias))) / len(labels)
    return weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.sum(0)
""",
)
wrong(
    E,
    "sigmoid for each class instead of softmax",
    """
    wrong = (torch.sigmoid(features @ weight.T + bias) - F.one_hot(labels, len(bias))) / len(labels)
    return weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.sum(0)
""",
)

# ------------------------------------------------------------------ 09 info_nce
E = "info_nce"
right(
    E,
    "cross-entropy with an identity matrix as target",
    """
    logits = torch.inner(video, audio) / temperature
    eye = torch.eye(logits.shape[0], dtype=logits.dtype)
    return torch.stack([F.cross_entropy(logits, eye), F.cross_entropy(logits.mT, eye)]).mean()
""",
)
wrong(
    E,
    "softmax before cross_entropy: softmax twice",
    """
    s = video @ audio.T / temperature
    t = torch.arange(len(s))
    return 0.5 * (F.cross_entropy(s.softmax(1), t) + F.cross_entropy(s.T.softmax(1), t))
""",
)
wrong(
    E,
    "the second direction is not transposed: the first one twice",
    """
    s = video @ audio.T / temperature
    t = torch.arange(s.size(0))
    v2a = F.cross_entropy(s, t)
    a2v = F.cross_entropy(s, t)
    return (v2a + a2v) / 2
""",
)
wrong(
    E,
    "divided by B once too often",
    """
    s = video @ audio.T / temperature
    t = torch.arange(len(s))
    return (F.cross_entropy(s, t) + F.cross_entropy(s.T, t)) / (2 * len(s))
""",
)
wrong(
    E,
    "the temperature in only one of the directions",
    """
    t = torch.arange(len(video))
    v2a = F.cross_entropy(video @ audio.T / temperature, t)
    a2v = F.cross_entropy(audio @ video.T, t)
    return (v2a + a2v) / 2
""",
)
wrong(
    E,
    "sum over the batch",
    """
    s = video @ audio.T / temperature
    own = s.diag()
    return ((s.logsumexp(1) - own).sum() + (s.logsumexp(0) - own).sum()) / 2
""",
)
wrong(
    E,
    "minus forgotten",
    """
    S = torch.exp(video @ audio.T / temperature)
    own = S.diagonal()
    return (torch.log(own / S.sum(1)) + torch.log(own / S.sum(0))).sum() / (2 * len(S))
""",
)
wrong(
    E,
    "one softmax over all B x B pairs",
    """
    s = video @ audio.T / temperature
    return (s.flatten().logsumexp(0) - s.diagonal()).mean()
""",
)
wrong(
    E,
    "compares within each sense",
    """
    t = torch.arange(len(video))
    return (F.cross_entropy(video @ video.T / temperature, t) + F.cross_entropy(audio @ audio.T / temperature, t)) / 2
""",
)

# ------------------------------------------------------------------ 09 queue_step
E = "queue_step"
right(
    E,
    "a loop over the queries, Python lists for the queue",
    """
    losses = []
    with torch.no_grad():
        keys, old = key.clone(), queue.clone()
    for b in range(len(query)):
        own = torch.dot(query[b], keys[b]) / temperature
        rest = torch.mv(old, query[b]) / temperature
        losses.append(torch.logsumexp(torch.cat([own.view(1), rest]), 0) - own)
    new = list(old) + list(keys)
    return sum(losses) / len(losses), torch.stack(new[-len(old):])
""",
)
wrong(
    E,
    "own score last, but the target says first",
    """
    k = key.detach()
    own = (query * k).sum(1, keepdim=True)
    logits = torch.cat([query @ queue.T, own], 1) / temperature
    loss = F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))
    return loss, torch.cat([queue, k])[len(k):]
""",
)
wrong(
    E,
    "all keys of the batch are scored and column 0 is right for all",
    """
    k = key.detach()
    logits = torch.cat([query @ k.T, query @ queue.T], 1) / temperature
    loss = F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))
    return loss, torch.cat([queue, k])[len(k):]
""",
)
wrong(
    E,
    "only the own score is divided by the temperature",
    """
    k = key.detach()
    own = (query * k).sum(1, keepdim=True) / temperature
    logits = torch.cat([own, query @ queue.T], 1)
    loss = F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))
    return loss, torch.cat([queue, k])[len(k):]
""",
)
wrong(
    E,
    "the own score is missing in the denominator",
    """
    k = key.detach()
    own = (query * k).sum(1) / temperature
    others = query @ queue.T / temperature
    return (others.logsumexp(1) - own).mean(), torch.cat([queue[len(k):], k])
""",
)
wrong(
    E,
    "the query is detached instead of the key",
    """
    q = query.detach()
    own = (q * key).sum(1, keepdim=True)
    logits = torch.cat([own, q @ queue.T], 1) / temperature
    loss = F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))
    return loss, torch.cat([queue, key.detach()])[len(key):]
""",
)
wrong(
    E,
    "one entry leaves for the whole batch",
    """
    k = key.detach()
    own = (query * k).sum(1, keepdim=True)
    logits = torch.cat([own, query @ queue.T], 1) / temperature
    loss = F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))
    return loss, torch.cat([queue[1:], k])
""",
)
wrong(
    E,
    "changes the queue that it was given",
    """
    k = key.detach()
    own = (query * k).sum(1, keepdim=True)
    logits = torch.cat([own, query @ queue.T], 1) / temperature
    loss = F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))
    B = len(k)
    queue[:-B] = queue[B:].clone()
    queue[-B:] = k
    return loss, queue
""",
)
wrong(
    E,
    "sum over the batch instead of the mean",
    """
    k = key.detach()
    own = (query * k).sum(1) / temperature
    others = query @ queue.T / temperature
    p = own.exp() / (own.exp() + others.exp().sum(1))
    return -p.log().sum(), torch.cat([queue, k])[len(k):]
""",
)

# ------------------------------------------------------------------ 09 sigmoid_loss
E = "sigmoid_loss"
right(
    E,
    "two loops and math-like formula",
    """
    B = video.shape[0]
    loss = 0.0
    for i in range(B):
        for j in range(B):
            y = 1 if i == j else -1
            s = (video[i] * audio[j]).sum() / temperature + bias
            loss = loss + torch.log(1 + torch.exp(-y * s))
    return loss / B
""",
)
wrong(
    E,
    "minus forgotten",
    """
    s = video @ audio.T / temperature + bias
    y = 2 * torch.eye(len(s)) - 1
    return torch.log(torch.sigmoid(y * s)).sum() / len(s)
""",
)
wrong(
    E,
    "+1 and -1 swapped",
    """
    s = video @ audio.T / temperature + bias
    y = 1 - 2 * torch.eye(len(s))
    return -F.logsigmoid(y * s).sum() / len(s)
""",
)
wrong(
    E,
    "sigmoid without the logarithm",
    """
    s = video @ audio.T / temperature + bias
    y = 2 * torch.eye(len(s)) - 1
    return -torch.sigmoid(y * s).sum() / len(s)
""",
)
wrong(
    E,
    "the bias only on the diagonal",
    """
    eye = torch.eye(len(video))
    s = video @ audio.T / temperature + bias * eye
    return -F.logsigmoid((2 * eye - 1) * s).sum() / len(video)
""",
)
wrong(
    E,
    "wrong pairs are averaged over B - 1, right ones over 1",
    """
    B = len(video)
    s = video @ audio.T / temperature + bias
    own = s.diagonal()
    wrong = F.softplus(s).sum(1) - F.softplus(own)
    return (F.softplus(-own) + wrong / (B - 1)).mean()
""",
)
wrong(
    E,
    "no temperature",
    """
    s = video @ audio.T + bias
    y = 2 * torch.eye(len(s)) - 1
    return F.softplus(-y * s).sum() / len(s)
""",
)
wrong(
    E,
    "only the right pairs are asked",
    """
    s = (video * audio).sum(1) / temperature + bias
    return F.softplus(-s).mean()
""",
)

# ------------------------------------------------------------------ 09 robust_weights
E = "robust_weights"
right(
    E,
    "erfc of the negative, under no_grad",
    """
    with torch.no_grad():
        mean = similarity.mean()
        sigma = ((similarity - mean) ** 2).mean().sqrt()
        below = torch.erfc((mean - similarity) / (sigma * 2 ** 0.5)) / 2
        return floor * (1 - below) + below
""",
)
wrong(
    E,
    "the density instead of the share below",
    """
    s = similarity.detach()
    n = torch.distributions.Normal(s.mean(), s.std(correction=0))
    return floor + (1 - floor) * n.log_prob(s).exp()
""",
)
wrong(
    E,
    "the share above: likely pairs get small weights",
    """
    s = similarity.detach()
    z = (s.mean() - s) / s.std(correction=0)
    return floor + (1 - floor) * torch.special.ndtr(z)
""",
)
wrong(
    E,
    "rank in the batch instead of the normal distribution",
    """
    s = similarity.detach()
    share = (s[:, None] >= s[None]).double().mean(1)
    return floor + (1 - floor) * share
""",
)
wrong(
    E,
    "the similarity itself rescaled from smallest to largest",
    """
    s = similarity.detach()
    share = (s - s.min()) / (s.max() - s.min())
    return floor + (1 - floor) * share
""",
)
wrong(
    E,
    "forgets to subtract the mean",
    """
    s = similarity.detach()
    return floor + (1 - floor) * torch.special.ndtr(s / s.std(correction=0))
""",
)
wrong(
    E,
    "only the numerator is detached",
    """
    z = (similarity.detach() - similarity.mean()) / similarity.std(correction=0)
    return floor + (1 - floor) * torch.special.ndtr(z)
""",
)
wrong(
    E,
    "floor is not added: weights from 0 to 1 - floor",
    """
    s = similarity.detach()
    z = (s - s.mean()) / s.std(correction=0)
    return (1 - floor) * torch.special.ndtr(z)
""",
)
wrong(
    E,
    "two mistakes: unbiased deviation, and clamped instead of rescaled",
    """
    s = similarity.detach()
    share = 0.5 * (1 + torch.erf((s - s.mean()) / (s.std() * 2 ** 0.5)))
    return torch.clamp(share, min=floor, max=1)
""",
)


def written(answer):
    """The function of an answer."""
    exercise = EXERCISES[answer["exercise"]]
    parameters = ", ".join(inspect.signature(exercise.reference).parameters)
    head = answer["head"] or f"def {exercise.name}({parameters}):"
    space = {"math": math, "torch": torch, "F": F, "np": np, "al": avid_lab}
    exec(f"{answer['before']}\n{head}\n{textwrap.indent(answer['body'], '    ')}\n", space)
    return space[head.split("(")[0].removeprefix("def ")]
