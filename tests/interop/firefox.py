"""Firefox, driven over WebDriver BiDi: a WebSocket that the browser itself serves, so that no driver has to be installed."""

import asyncio
import contextlib
import json
import pathlib
import re
import subprocess
import tempfile

import websockets

from processes import stop

PREFERENCES = {
    # Nobody is there to click.
    "media.autoplay.default": 0,
    "media.autoplay.block-webaudio": False,
    "media.autoplay.blocking_policy": 0,
    "media.navigator.permission.disabled": True,
    # There may be no sound card, and without one sound does not run at all.
    "media.cubeb.force_mock_context": True,
    # mDNS names would need a resolver.
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    # Nothing but the test goes over the network.
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "http://127.0.0.1:1/",
    "toolkit.telemetry.enabled": False,
}
PATIENCE = 90


class Firefox:
    """One tab of a browser of its own."""

    def __init__(self, socket):
        self.socket, self.sent, self.context = socket, 0, None

    async def command(self, method, **parameters):
        self.sent += 1
        await self.socket.send(json.dumps({"id": self.sent, "method": method, "params": parameters}))
        async for text in self.socket:
            message = json.loads(text)
            if message.get("id") == self.sent:
                assert message["type"] == "success", f"{method}: {message.get('message')}"
                return message["result"]

    async def open(self, url):
        tree = await self.command("browsingContext.getTree")
        self.context = tree["contexts"][0]["context"]
        await self.command("browsingContext.navigate", context=self.context, url=url, wait="complete")

    async def run(self, function, *arguments):
        """Calls an asynchronous JavaScript function with texts and numbers; what it returns comes back through JSON."""
        result = await self.command(
            "script.callFunction",
            functionDeclaration=f"async (...args) => JSON.stringify(await ({function})(...args))",
            arguments=[{"type": "string" if isinstance(each, str) else "number", "value": each} for each in arguments],
            target={"context": self.context},
            awaitPromise=True,
        )
        assert result["type"] == "success", result["exceptionDetails"]["text"]
        return json.loads(result["result"].get("value", "null"))


@contextlib.asynccontextmanager
async def firefox(binary, log):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, open(log, "w+") as output:
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items())
        pathlib.Path(profile, "user.js").write_text("".join(lines))
        command = [binary, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"]
        process = subprocess.Popen([*command, "about:blank"], stdout=output, stderr=output)
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := re.search(r"ws://[\w.]+:\d+", pathlib.Path(log).read_text())):
                    assert process.poll() is None, "Firefox ended"
                    await asyncio.sleep(0.1)
            async with websockets.connect(found[0] + "/session", max_size=2**24) as socket:
                browser = Firefox(socket)
                await browser.command("session.new", capabilities={})
                yield browser
        finally:
            stop(process)
