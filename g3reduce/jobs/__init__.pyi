from .checking import Checked as Checked
from .planning import CoaddPlan as CoaddPlan
from .previewing import Preview as Preview
