"""Compare ways to choose the prototypes by which level 1 finds a video.

Synthetic videos have 24 clips and 65 moments, with 2 to 5 long events and one of a single clip;
queries are blurred moments, of any scale or of the short event. The tables show how often the right
video, and the best ten of exact search, are among the 200 that prototypes alone find.

With --vectors numbers of prototypes are compared instead: how many of the best 200 videos of exact
search are among the 200, 800 and 3,200 that prototypes find, in a corpus enlarged by distractors.

Examples:
    python benchmarks/prototypes.py
    python benchmarks/prototypes.py --videos 20000 --num-prototypes 4 6 8
    python benchmarks/prototypes.py --vectors work_dirs/vectors \\
        --query-vectors work_dirs/queries.safetensors --num-prototypes 6 12 24
"""

from demul_mm.cli import run_tool, tool_parser


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('--videos', type=int, default=8000)
    parser.add_argument('--queries', type=int, default=400, help='of each kind')
    parser.add_argument('--num-prototypes', type=int, nargs='+', default=[4, 6, 8])
    parser.add_argument('--vectors', help='folder of trained vectors, enlarged by distractors')
    parser.add_argument('--query-vectors', help='safetensors of trained queries with their truth')
    args = parser.parse_args()
    from prototype_choices import compare_numbers, compare_ways

    if args.vectors:
        compare_numbers(args)
    else:
        compare_ways(args)


if __name__ == '__main__':
    run_tool(main)
