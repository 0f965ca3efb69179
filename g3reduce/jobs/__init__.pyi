from .checking import Checked as Checked
from .coaddplan import CoaddPlan as CoaddPlan
from .previewing import Preview as Preview
