"""Measure how R@10 rises when a user says what is right, wrong or alike among what is shown.

A simulated user looks at the ten moments shown. When a right one is among them (right video, IoU
at least .5) the search has ended well. Otherwise all ten are called wrong and are not shown again,
and each kind of user may say something more:

* ``paging`` says nothing that the search could learn from: the next ten are shown. This is the
  baseline for feedback.
* ``no`` says that the ten are wrong, and the query moves away from them.
* ``alike`` also says which of them is most like what is meant: the one whose own caption (that of
  the annotated moment it overlaps most, IoU at least .3) is nearest to the query in the language
  model's sentence vectors, if their similarity is at least .6. This user sees what is shown and
  knows what is wanted, but not where it is.
* ``video`` recognises the right video and says of a wrong moment in it that it is alike. This user
  knows more than a real one would.

Examples:
    python benchmarks/feedback.py configs/demul_demo.py work_dirs/demo/train/best.pth --with-train
    python benchmarks/feedback.py configs/demul_demo.py best.pth --mode full --queries 100
"""

from trained_arguments import add_arguments

from demul_mm.cli import run_tool, tool_parser


def main() -> None:
    parser = tool_parser(__doc__)
    add_arguments(parser)
    parser.add_argument('--mode', choices=['fast', 'full'], default='fast')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--iou', type=float, default=0.5)
    parser.add_argument('--liked', type=float, nargs='+', help='weights (default: as in search)')
    parser.add_argument('--disliked', type=float, nargs='+', help='weights (default: as in search)')
    parser.add_argument('--fused', type=float, help='weight (default: as in search)')
    args = parser.parse_args()
    from simulated_users import simulate, users_of
    from trained import load_trained

    trained = load_trained(args)
    videos = trained.searcher.index.stats()['videos']
    print(f'{len(trained.queries)} queries, {videos} videos, mode {args.mode}, IoU {args.iou:g}\n')
    heads = [f'{what}, round {r}' for what in ('R@10', 'video') for r in range(args.rounds + 1)]
    print('| user | ' + ' | '.join(heads) + ' |\n| --- |' + ' --- |' * len(heads))
    for name, similar, weights in users_of(trained, args.liked, args.disliked, args.fused):
        outcomes = simulate(trained, similar, weights, args)
        cells = 100 * outcomes.mean(0).T.reshape(-1)
        print(f'| {name} | ' + ' | '.join(f'{cell:.1f}' for cell in cells) + ' |', flush=True)


if __name__ == '__main__':
    run_tool(main)
