"""Alarms of what serves: some watch a new revision while it takes over, all of them stay.

    metric(...)  one metric, as CloudWatch has it
    share(...)   one metric in percent of another, nothing of nothing counting as none

An alarm without a topic is red in the console and nowhere else; the option ``alarm_topic`` names one.
Names of metrics: AWS Lambda developer guide, "Types of metrics for Lambda functions"; Amazon
SageMaker AI developer guide, "Amazon SageMaker AI metrics in Amazon CloudWatch".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelpack.errors import UsageError
from modelpack_aws.template import Json, Template, tags

_TOPIC = re.compile(r"arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What all alarms of one deployment share."""

    template: Template
    own_tags: Mapping[str, str]
    topic: str | None = None
    """ARN of the topic that is told of every alarm; None: nobody is."""
    period_s: int = 60
    _names: list[str] = field(default_factory=list)

    def metric(
        self,
        name: str,
        about: str,
        stat: Mapping[str, Any],
        *,
        above: float,
        minutes: int = 3,
        of: int = 3,
    ) -> Json:
        """Declare an alarm: the metric is above a bound in ``minutes`` of the last ``of`` ones."""
        queries = [_query("m", stat, self.period_s, is_shown=True)]
        return self._alarm(name, about, queries, {"Threshold": above, **_lasting(minutes, of)})

    def share(
        self,
        name: str,
        about: str,
        part: Mapping[str, Any],
        whole: Mapping[str, Any],
        *,
        above: float,
        minutes: int = 3,
        of: int = 3,
    ) -> Json:
        """Declare an alarm on ``part`` in percent of ``whole``."""
        queries = [
            {
                "Id": "share",
                # Without a call there is no failure: 0 rather than a gap that looks like nothing.
                "Expression": "IF(FILL(whole, 0) > 0, 100 * FILL(part, 0) / whole, 0)",
                "Label": "percent",
                "ReturnData": True,
            },
            _query("part", part, self.period_s, is_shown=False),
            _query("whole", whole, self.period_s, is_shown=False),
        ]
        return self._alarm(name, about, queries, {"Threshold": above, **_lasting(minutes, of)})

    @property
    def names(self) -> list[str]:
        """Logical ids of the alarms so far."""
        return list(self._names)

    def _alarm(self, name: str, about: str, queries: list[Json], bound: Json) -> Json:
        self._names.append(name)
        return self.template.add(
            name,
            "AWS::CloudWatch::Alarm",
            {
                "AlarmDescription": about,
                "Metrics": queries,
                "ComparisonOperator": "GreaterThanThreshold",
                **bound,
                "TreatMissingData": "notBreaching",
                "AlarmActions": [self.topic] if self.topic else None,
                "OKActions": [self.topic] if self.topic else None,
                "Tags": tags(self.own_tags),
            },
        )


def stat(namespace: str, name: str, how: str, dimensions: Mapping[str, Any]) -> Json:
    """Return a metric and how it is summed up, such as ``Sum``, ``p99`` or ``Maximum``."""
    named = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    return {
        "Metric": {"Namespace": namespace, "MetricName": name, "Dimensions": named},
        "Stat": how,
    }


def topic_of(options: Mapping[str, str]) -> str | None:
    """Return the option ``alarm_topic``; raises UsageError when it names no topic."""
    text = options.get("alarm_topic")
    if text is not None and not _TOPIC.fullmatch(text):
        raise UsageError(
            "option 'alarm_topic': must be the ARN of a topic of SNS",
            hint="such as arn:aws:sns:eu-west-1:123456789012:on-call",
        )
    return text


def _lasting(minutes: int, of: int) -> Json:
    return {"DatapointsToAlarm": minutes, "EvaluationPeriods": of}


def _query(name: str, stat: Mapping[str, Any], period_s: int, *, is_shown: bool) -> Json:
    return {"Id": name, "MetricStat": {**stat, "Period": period_s}, "ReturnData": is_shown}
