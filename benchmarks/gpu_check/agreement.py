"""A GPU computes the same as a CPU."""

from contextlib import nullcontext
from functools import partial

import torch
from lab import METHODS, Lab, losses_and_gradient
from sections import Rows, apart, bound, exact_products, section
from torch.nn.functional import cosine_similarity

from demul_mm.evaluation.metrics import MomentRecall
from demul_mm.evaluation.predictions import pad_spans
from demul_mm.models.backbones import TransformersLM
from demul_mm.models.task_modules import ExpectedRecall, MomentNMS, ScoreCalibrator, SoftNMS
from demul_mm.precision import autocast


@section
@exact_products()
def encodings(lab: Lab, rows: Rows) -> None:
    """Encoders and pairs in float32, CPU against device."""
    found = []
    for device in ('cpu', str(lab.device)):
        model = lab.model('whole method', device=device).eval()
        data = model.data_preprocessor(lab.batch(lab.sizes.batch))
        with torch.no_grad():
            videos = model.encode_video(data['inputs'])
            queries = model.encode_tokens(data['inputs']['ids'], data['inputs']['word_mask'])
            each = torch.arange(len(queries.shared), device=device)
            pairs = model.localize(videos, queries, each % len(videos.mask), each)
        found.append((videos, queries, pairs))
    (videos, queries, pairs), (videos2, queries2, pairs2) = found
    bound(rows, 'moments in the shared space', apart(videos.shared, videos2.shared), 1e-4)
    bound(rows, 'proposed spans', apart(videos.spans, videos2.spans), 1e-4)
    bound(rows, 'queries in the shared space', apart(queries.shared, queries2.shared), 1e-4)
    # Of two cells that tie for the last place among the survivors, either may be right.
    best = [p.scores.masked_fill(~p.mask, -1e4).sort(1).values[:, -5:] for p in (pairs, pairs2)]
    bound(rows, 'scores of the best five', apart(*best), 1e-3)
    ids, mask = model.data_preprocessor.tokenizer(['A man opens the door.', 'The dog runs.'])
    lms = [TransformersLM(dtype='float32', cache_mb=0) for _ in range(2)]
    words = lms[0](ids, mask), lms[1](ids.to(lab.device), mask.to(lab.device))
    bound(rows, 'words of the language model', apart(*words), 5e-3)


@section
@exact_products()
def losses(lab: Lab, rows: Rows) -> None:
    """Losses and gradients of a batch: CPU in float32 against device in float32 and 'auto'."""
    for method in METHODS:
        batch = lab.batch(lab.sizes.batch, method)
        expected, gradient = losses_and_gradient(
            lab.model(method, device='cpu'), batch, nullcontext
        )
        for precision, loose, turned in (('float32', 2e-3, 1e-4), ('auto', 0.1, 0.05)):
            context = partial(autocast, precision, lab.device)
            values, other = losses_and_gradient(lab.model(method), batch, context)
            worst = max(abs(values[k] - v) / max(abs(v), 1e-2) for k, v in expected.items())
            bound(rows, f'{method}, {precision}: losses', worst, loose)
            turn = 1 - float(cosine_similarity(gradient, other, dim=0))
            bound(rows, f'{method}, {precision}: gradient, 1 - cosine', turn, turned)


@section
@exact_products()
def selection(lab: Lab, rows: Rows) -> None:
    """Suppression, metrics, calibration and the optimizer's step, CPU against device."""
    rng = torch.Generator().manual_seed(0)
    spans = torch.rand(16, 200, 2, generator=rng).sort(-1).values
    scores, mask = torch.rand(16, 200, generator=rng), torch.rand(16, 200, generator=rng) < 0.9
    for nms in (ExpectedRecall(), MomentNMS(vote_iou=0.6), SoftNMS()):
        ours = nms(spans, scores, mask)
        theirs = nms(*(t.to(lab.device) for t in (spans, scores, mask)))
        name = type(nms).__name__
        bound(rows, f'{name}: spans', apart(ours[0], theirs[0]), 1e-5)
        bound(rows, f'{name}: which', apart(ours[3], theirs[3]), 0)
        truth = pad_spans([[[0.2, 0.5]]] * 16)
        recalls = [
            MomentRecall.calculate(found[0].cpu().double(), found[2].cpu(), *truth, topk=(1, 5))
            for found in (ours, theirs)
        ]
        off = max(abs(recalls[1][key] - value) for key, value in recalls[0].items())
        bound(rows, f'{name}: recall', off, 1e-3)
    calibrators = [ScoreCalibrator(), ScoreCalibrator().to(lab.device)]
    for calibrator in calibrators:
        own = scores[0].to(calibrator.scale.device)
        calibrator.fit(own, own > 0.5 + 0.3 * torch.sin(50 * own))
        calibrator.fit_match(own)
    bound(rows, 'calibration', apart(*(c.scale for c in calibrators)), 1e-3)
    bound(rows, 'what is usual', apart(*(c.match_levels for c in calibrators)), 1e-5)
    moved = []
    for device in ('cpu', lab.device):
        model = lab.model(device=str(device))
        before = torch.cat([p.detach().flatten().cpu() for p in model.parameters()])
        for k, p in enumerate(model.parameters()):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(k)).to(device)
        lab.optim(model, 'float32').step()
        moved.append(torch.cat([p.detach().flatten().cpu() for p in model.parameters()]) - before)
    turn = 1 - float(cosine_similarity(moved[0], moved[1], dim=0))
    bound(rows, 'step of the optimizer, 1 - cosine', turn, 5e-3)
