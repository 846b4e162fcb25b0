"""What a log says of progress: phases, and the time that is left, by a clock that the test sets."""

import re

from scoread_qgis.core.progress import Narrator


class Clock:
    def __init__(self):
        self.now = 100.0
        self.narrator = Narrator(lambda: self.now)

    def work(self, message, steps, seconds, first=0):
        """What is told of `steps` steps that take `seconds` each."""
        told = []
        for step in range(first, steps + 1):
            told.append(self.narrator(message.format(step=step, steps=steps)))
            self.now += seconds
        return [text for text in told if text]


def seconds_left(texts):
    units = {"s": 1, "min": 60, "h": 3600}
    found = (re.search(r"about ([\d.]+) (s|min|h) left$", text) for text in texts)
    return [float(match[1]) * units[match[2]] for match in found if match]


def test_each_phase_is_one_line_and_long_ones_tell_the_time_left():
    clock = Clock()
    lines = clock.work("reading scene, row {step} of {steps}", 120, 0.005)
    assert lines == ["reading scene"]
    lines = clock.work("training, step {step} of {steps}, loss 0.9", 50_700, 0.01)
    assert lines[0] == "training"
    assert re.fullmatch(r"training, step \d+ of 50700, loss 0.9, about 8 min left", lines[1])
    assert len(lines) < 12
    assert clock.work("writing the map, row {step} of {steps}", 9, 0.01) == ["writing the map"]


def test_in_steady_work_the_time_left_is_right_and_never_rises():
    clock = Clock()
    clock.work("reading scene, row {step} of {steps}", 2000, 0.0001)  # a fast phase says nothing of the next
    end = clock.now + 80
    told = []
    for step in range(1001):
        if text := clock.narrator(f"local RX, row {step} of 1000"):
            told += [(left, end - clock.now) for left in seconds_left([text])]
        clock.now += 0.08
    assert len(told) > 4
    assert [left for left, _ in told] == sorted((left for left, _ in told), reverse=True)
    assert all(abs(left - true) < 2 for left, true in told)


def test_work_that_begins_in_the_middle_is_not_thought_fast():
    lines = Clock().work("local RX, row {step} of {steps}", 1000, 1.0, first=920)
    assert 77 <= seconds_left(lines)[0] <= 80


def test_the_same_phase_of_the_next_scene_is_not_told_again_and_measured_anew():
    clock = Clock()
    assert clock.work("reading, row {step} of {steps}", 50, 0.01) == ["reading"]
    left = seconds_left(clock.work("reading, row {step} of {steps}", 50, 1.0))
    assert 45 <= left[0] <= 50


def test_what_counts_nothing_is_told_once():
    narrator = Narrator(lambda: 0.0)
    texts = ["background statistics", "background statistics", "20 regions explained", "writing band 3 of 20", "writing band 4 of 20"]
    assert [narrator(text) for text in texts] == ["background statistics", None, "20 regions explained", "writing", None]
