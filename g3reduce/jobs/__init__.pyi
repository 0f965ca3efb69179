from .checking import Checked as Checked
from .previewing import Preview as Preview
