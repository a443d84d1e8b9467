"""Scores of video frames: what a router compares with its threshold.

Scorers with weights: :mod:`~video_ar.rewards.image_reward`, :mod:`~video_ar.rewards.clip`,
:mod:`~video_ar.rewards.open_clip`, :mod:`~video_ar.rewards.aesthetic`. Scorers without:
:mod:`~video_ar.rewards.motion`, :mod:`~video_ar.rewards.sharpness`. Every scorer has a scale of its
own, so thresholds do not carry over: see :mod:`~video_ar.rewards.calibration`.
"""
