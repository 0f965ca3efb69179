from .ledger import Entry as Entry
from .ledger import Ledger as Ledger
from .ledger import LeftOut as LeftOut
