import os
import threading
import winreg

import pywintypes
import win32api
import win32con
import win32security

import torchgate


def who():
    """Whom this thread acts as."""
    try:
        token = win32security.OpenThreadToken(win32api.GetCurrentThread(), win32con.TOKEN_QUERY, True)
    except pywintypes.error as error:
        return f"nobody ({error.winerror})"
    user = win32security.GetTokenInformation(token, win32security.TokenUser)[0]
    level = win32security.GetTokenInformation(token, win32security.TokenStatistics)["ImpersonationLevel"]
    return f"{win32security.ConvertSidToStringSid(user)} {level} {win32api.GetUserName()}"


class Impersonating(torchgate.Model):
    """Does what each word asks for, and says what came of it."""

    def load(self, context):
        self.key = context.parameters["key"]
        self.kept = None

    def predict(self, batch):
        if not batch.has_caller:
            return {"said": [b"nobody's"] * batch.rows}
        return {"said": [getattr(self, word.decode("ascii"))(batch) for word in batch.inputs["word"].flatten()]}

    def opens(self, batch):
        with batch.as_caller():
            return self.opens_as_server(batch)

    def opens_as_server(self, batch):
        try:
            winreg.OpenKey(winreg.HKEY_CURRENT_USER, self.key).Close()
        except PermissionError:
            return "refused"
        return "opened"

    def names(self, batch):
        with batch.as_caller():
            return who()

    def names_from_a_thread(self, batch):
        said = []
        with batch.as_caller():
            thread = threading.Thread(target=lambda: said.append(who()))
            thread.start()
            thread.join()
        return said[0]

    def nests(self, batch):
        with batch.as_caller():
            try:
                with batch.as_caller():
                    return "nested"
            except torchgate.CannotImpersonate as error:
                return f"{error}; {who()}"

    def raises(self, batch):
        with batch.as_caller():
            raise ValueError("marked")

    def dies(self, batch):
        with batch.as_caller():
            os._exit(7)

    def takes(self, batch):
        win32security.ImpersonateSelf(win32security.SecurityImpersonation)
        return "taken"

    def keeps(self, batch):
        self.kept = batch
        return "kept"

    def uses_kept(self, batch):
        try:
            with self.kept.as_caller():
                return "used what it had kept"
        except torchgate.NoCaller as error:
            return f"NoCaller: {error}"

    def counts(self, batch):
        return f"{os.getpid()} {batch.rows}"
