"""Reads OSCAL assessment results as compliance-trestle does, and says how much is in them."""

import pathlib
import sys

from trestle.oscal.assessment_results import AssessmentResults

results = AssessmentResults.oscal_read(pathlib.Path(sys.argv[3]))
assert results is not None, "not there"
result = results.results[0]
print("findings", len(result.findings or []), "observations", len(result.observations or []))
