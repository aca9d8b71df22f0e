"""A control: the recorded receiver answering before the commit."""

import sys

import early_answer
import recorded

from receiver.__main__ import main


class RecordedEarly(recorded.RecordedReceiver):
    group_commit = early_answer.Early


if __name__ == "__main__":
    sys.exit(main(RecordedEarly))
