"""Compare a step of our optimiser with torch's Muon and AdamW together, by processor time.

Parameters have the shapes of a config's model, gradients are random. Takes no data.

Examples:
    OMP_NUM_THREADS=1 python benchmarks/muon.py configs/demul_demo.py
"""

import time

from demul_mm.cli import load_config, run_tool, tool_parser

STEPS = 5


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='of the model')
    args = parser.parse_args()
    import torch
    from torch.nn import Parameter

    from demul_mm.engine.optim import MuonAdamW
    from demul_mm.registry import MODELS

    torch.manual_seed(0)
    model = MODELS.build(load_config(args.config).model)
    params = [Parameter(torch.randn_like(p)) for p in model.parameters() if p.requires_grad]
    for p in params:
        p.grad = torch.randn_like(p)
    ours = MuonAdamW(params)
    matrices = [p for p in params if p.ndim == 2 and min(p.shape) >= ours.min_size]
    known = {id(p) for p in matrices}
    theirs = (
        torch.optim.Muon(matrices, adjust_lr_fn='match_rms_adamw'),
        torch.optim.AdamW([p for p in params if id(p) not in known], fused=True),
    )
    for name, optimizers in {'MuonAdamW': (ours,), 'torch.optim': theirs}.items():
        seconds = []
        for _ in range(STEPS + 1):  # the first one makes the states
            start = time.process_time()
            for optimizer in optimizers:
                optimizer.step()
            seconds.append(time.process_time() - start)
        print(f'{name}: {1000 * min(seconds[1:]):.0f} ms for {len(matrices)} matrices and the rest')


if __name__ == '__main__':
    run_tool(main)
