"""Torchgate."""


class TorchgateServe:
    name = "Torchgate"
    about = ""

    def declines(self, workload):
        return ""

    def launch(self, model, place):
        raise RuntimeError("not there yet")

    def question(self, w, r): ...
