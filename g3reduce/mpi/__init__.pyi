from .communicators import OneProcess as OneProcess
