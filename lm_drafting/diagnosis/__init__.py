"""The acceptance doctor: which ingredient of a drafter's input is not what it was trained on."""

from lm_drafting.diagnosis.examination import examine
from lm_drafting.diagnosis.report import Diagnosis, Row

__all__ = ["Diagnosis", "Row", "examine"]
