"""What must never happen in a browser, whatever a test is about."""

from playwright.sync_api import BrowserContext, ConsoleMessage, Request, Response, WebError

# Runs before every page's own scripts, so that no violation of the policy goes unheard.
_REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  const place = `${event.sourceFile}:${event.lineNumber}`;
  console.error(`CSP: ${event.violatedDirective} refused ${event.blockedURI} at ${place}`);
});
"""
# A form that is refused answers 4xx, and the browser says so in its console; statuses are judged below.
_STATUS_IN_CONSOLE = "Failed to load resource: the server responded with a status of 4"
# Searching as one types cancels what is stale, and leaving a page cancels what it still asked for.
_CANCELLED_ON_PURPOSE = "htmx:sendAbort"
_MAY_BE_REFUSED = {"document", "fetch", "xhr"}


class Watch:
    """Collects what goes wrong in a browser context; `troubles` is empty when nothing did.

    `listens` is turned off before a test brings in a script of its own, which breaks the policy itself.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.listens = True
        self.troubles: list[str] = []
        self.addresses: list[str] = []
        context.add_init_script(_REPORT_VIOLATIONS)
        context.on("console", self._hear)
        context.on("weberror", self._catch)
        context.on("request", self._note)
        context.on("response", self._judge)

    def _hear(self, message: ConsoleMessage) -> None:
        if not self.listens or message.type not in {"error", "warning"}:
            return
        if message.text.startswith(_STATUS_IN_CONSOLE) or message.text == _CANCELLED_ON_PURPOSE:
            return
        self.troubles.append(f"console: {message.text} ({message.location['url']})")

    def _catch(self, error: WebError) -> None:
        self.troubles.append(f"uncaught: {error.error}")

    def _note(self, request: Request) -> None:
        self.addresses.append(request.url)

    def _judge(self, response: Response) -> None:
        limit = 500 if response.request.resource_type in _MAY_BE_REFUSED else 400
        if response.status >= limit:
            self.troubles.append(f"{response.status}: {response.request.method} {response.url}")
