from .checking import Checked as Checked
