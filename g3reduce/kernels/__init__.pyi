from .choice import check as check
from .choice import loops as loops
