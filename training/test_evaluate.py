"""Cases worked by hand for the evaluator. Needs nothing beyond the standard library."""
from __future__ import annotations

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import evaluate as ev  # noqa: E402

A, B, C = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)
FAR = (200, 200, 210, 210)


class Overlap(unittest.TestCase):
    def test_half_shifted(self) -> None:
        # 10x10 boxes shifted by 5: 50 shared of 150 in all
        self.assertAlmostEqual(ev.iou((0, 0, 10, 10), (5, 0, 15, 10)), 1 / 3)

    def test_apart_and_empty(self) -> None:
        self.assertEqual(ev.iou(A, B), 0.0)
        self.assertEqual(ev.iou((0, 0, 0, 0), (0, 0, 0, 0)), 0.0)


class AveragePrecision(unittest.TestCase):
    def ap(self, *images: tuple, label: int = 0) -> float | None:
        return ev.average_precision(*ev.pooled([ev.match(im, label, 0.5) for im in images]))

    def test_perfect(self) -> None:
        image = ([(0, A), (0, B)], [], [(0, 0.9, A), (0, 0.8, B)])
        self.assertAlmostEqual(self.ap(image), 1.0)
        self.assertAlmostEqual(ev.evaluate([image], 1)["map50_95"], 1.0)

    def test_all_missed(self) -> None:
        self.assertEqual(self.ap(([(0, A)], [], [])), 0.0)
        self.assertEqual(self.ap(([(0, A)], [], [(0, 0.9, FAR)])), 0.0)

    def test_nothing_to_find(self) -> None:
        self.assertIsNone(self.ap(([], [], [(0, 0.9, A)])))

    def test_duplicate(self) -> None:
        # One truth; the second finding on it is false. Recall 1 is reached at
        # precision 1 by the first, so the duplicate below it costs nothing...
        self.assertAlmostEqual(self.ap(([(0, A)], [], [(0, 0.9, A), (0, 0.8, A)])), 1.0)
        # ...but before a second truth it does: hit, false, hit over two truths.
        # Recall .5 at precision 1, recall 1 at precision 2/3:
        # 51 points (0..0.50) at 1 and 50 points at 2/3, over 101.
        image = ([(0, A), (0, B)], [], [(0, 0.9, A), (0, 0.8, A), (0, 0.7, B)])
        self.assertAlmostEqual(self.ap(image), (51 + 50 * 2 / 3) / 101)

    def test_wrong_class(self) -> None:
        image = ([(0, A)], [], [(1, 0.9, A)])
        self.assertEqual(self.ap(image), 0.0)
        # class 1 has no truth at all: left out of the mean rather than counted as zero
        self.assertEqual(ev.evaluate([image], 2)["ap50"], [0.0, None])

    def test_below_threshold_overlap(self) -> None:
        # shifted by 4: 60 / 140 = .43 < .5 ; shifted by 3: 70 / 130 = .54
        self.assertEqual(self.ap(([(0, A)], [], [(0, 0.9, (4, 0, 14, 10))])), 0.0)
        self.assertAlmostEqual(self.ap(([(0, A)], [], [(0, 0.9, (3, 0, 13, 10))])), 1.0)

    def test_ignore_region(self) -> None:
        # the higher finding lies in the ignore region: neither right nor wrong
        image = ([(0, A)], [FAR], [(0, 0.95, FAR), (0, 0.9, A)])
        self.assertAlmostEqual(self.ap(image), 1.0)
        self.assertEqual(len(ev.match(image, 0, 0.5)[0]), 1)
        # without the region it is a false finding first: precision 1/2 at every recall
        self.assertAlmostEqual(self.ap(([(0, A)], [], image[2])), 0.5)
        # a truth found within an ignore region still counts as found
        self.assertAlmostEqual(self.ap(([(0, A)], [A], [(0, 0.9, A)])), 1.0)
        # less than half of it inside: it counts against
        self.assertEqual(len(ev.match(([], [(0, 0, 4, 10)], [(0, 0.9, A)]), 0, 0.5)[0]), 1)

    def test_score_ties(self) -> None:
        # a hit and a false finding with one score: no threshold separates them,
        # so precision at recall 1 is 1/2 whichever was listed first
        for found in ([(0, 0.5, A), (0, 0.5, FAR)], [(0, 0.5, FAR), (0, 0.5, A)]):
            self.assertAlmostEqual(self.ap(([(0, A)], [], found)), 0.5)

    def test_three_findings(self) -> None:
        # Three truths in two images; sorted: .9 hit, .8 false, .7 hit; one truth missed.
        # recall 1/3 at precision 1; 1/3 at 1/2; 2/3 at 2/3.
        # Points 0.00..0.33 (34) at 1, points 0.34..0.66 (33) at 2/3, the rest 0.
        first = ([(0, A), (0, B)], [], [(0, 0.9, A), (0, 0.8, FAR)])
        second = ([(0, C)], [], [(0, 0.7, C)])
        self.assertAlmostEqual(self.ap(first, second), (34 + 33 * 2 / 3) / 101)
        marks, truths = ev.pooled([ev.match(im, 0, 0.5) for im in (first, second)])
        self.assertEqual(truths, 3)
        got = ev.curve(marks, truths)
        for (t, r, p), (et, er, ep) in zip(got, [(0.9, 1 / 3, 1), (0.8, 1 / 3, 1 / 2), (0.7, 2 / 3, 2 / 3)]):
            self.assertAlmostEqual((t, r, p)[0], et)
            self.assertAlmostEqual(r, er)
            self.assertAlmostEqual(p, ep)

    def test_best_overlap_is_taken(self) -> None:
        # two truths overlap the finding; it takes the closer one and leaves the other free
        near, other = (0, 0, 10, 10), (2, 0, 12, 10)
        image = ([(0, other), (0, near)], [], [(0, 0.9, near), (0, 0.8, other)])
        self.assertAlmostEqual(self.ap(image), 1.0)


class OperatingPoint(unittest.TestCase):
    def test_highest_f1(self) -> None:
        # F1: .9 -> 2*1*(1/2)/(3/2) = .667 ; .8 -> .5 ; .7 -> 2*(2/3)*1/(5/3) = .8
        marks = [(0.9, True), (0.8, False), (0.7, True)]
        got = ev.operating_point(marks, 2)
        self.assertEqual(got["threshold"], 0.7)
        self.assertAlmostEqual(got["sensitivity"], 1.0)
        self.assertAlmostEqual(got["precision"], 2 / 3)
        self.assertAlmostEqual(got["f1"], 0.8)

    def test_halfway_to_the_next(self) -> None:
        # the best F1 (1) is at .9; the threshold lies halfway to the false finding at .5
        self.assertAlmostEqual(ev.operating_point([(0.9, True), (0.5, False)], 1)["threshold"], 0.7)


class Intervals(unittest.TestCase):
    def test_percentile(self) -> None:
        self.assertAlmostEqual(ev.percentile([1, 2, 3, 4, 5], 0.5), 3)
        self.assertAlmostEqual(ev.percentile([0, 10], 0.25), 2.5)

    def test_no_spread(self) -> None:
        image = ([(0, A)], [], [(0, 0.9, A)])
        self.assertEqual(ev.bootstrap([image] * 5, 1, 50)["map50"], (1.0, 1.0))

    def test_spread(self) -> None:
        found, missed = ([(0, A)], [], [(0, 0.9, A)]), ([(0, A)], [], [])
        low, high = ev.bootstrap([found] * 5 + [missed] * 5, 1, 300)["map50"]
        self.assertLess(low, 0.5)
        self.assertGreater(high, 0.5)

    def test_share(self) -> None:
        self.assertEqual(ev.share_interval([True] * 20, 50), (1.0, 1.0))


if __name__ == "__main__":
    unittest.main()
