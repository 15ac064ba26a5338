"""Runs the README's Python and Node snippets against a simulated Lambda.

Usage: run_snippets.py NODE_FOLDER README…

A snippet is a fenced block of python or js that contains TOKEN_GET. Each snippet
runs twice without changes. If token-get succeeds, it must print the account and no
token. If token-get fails, it must print the advice for ReauthorizationRequired.
"""

import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

FENCE = re.compile(r"^```(python|js)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOKEN = {
    "connection_id": "5f0c7a52-9d3e-4b61-8a7f-2c4e6d8b0a13", "platform": "youtube", "owner": "acme",
    "account_id": "UCtest", "account_name": "Example Channel", "status": "active", "scopes": [],
    "access_token": "test-access-token", "token_type": "Bearer", "credentials": {},
}
FAILURE = {"errorType": "ReauthorizationRequired", "errorMessage": "the authorization has ended"}


class Lambda(http.server.BaseHTTPRequestHandler):
    """The Lambda API with one function, which fails for the owner "ended"."""

    def do_POST(self):
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert re.fullmatch(r"/2015-03-31/functions/[\w%:.-]*token-get/invocations", self.path), self.path
        failed = payload["owner"] == "ended"
        body = json.dumps(FAILURE if failed else TOKEN).encode()
        self.send_response(200)
        if failed:
            self.send_header("X-Amz-Function-Error", "Unhandled")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def execute(language, code, node_folder, endpoint, owner):
    environment = {
        **os.environ, "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "OWNER": owner,
        "TOKEN_GET": "platform-api-connector-dev-token-get",
    }
    suffix, command, folder = {"python": (".py", sys.executable, None), "js": (".mjs", "node", node_folder)}[language]
    with tempfile.NamedTemporaryFile("w", suffix=suffix, dir=folder, delete=False) as script:
        script.write(code)
    try:
        done = subprocess.run([command, script.name], env=environment, capture_output=True, text=True, timeout=60)
    finally:
        os.unlink(script.name)
    assert done.returncode == 0, "%s snippet exited with %d:\n%s" % (language, done.returncode, done.stderr)
    return done.stdout


def main(node_folder, *readmes):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lambda)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = "http://127.0.0.1:%d" % server.server_port
    run = []
    for readme in readmes:
        for language, code in FENCE.findall(pathlib.Path(readme).read_text()):
            if "TOKEN_GET" not in code:
                continue
            output = execute(language, code, node_folder, endpoint, "acme")
            assert "Example Channel" in output and TOKEN["access_token"] not in output, "%s: %s" % (language, output)
            output = execute(language, code, node_folder, endpoint, "ended")
            assert "connect link" in output, "%s: %s" % (language, output)
            run.append(language)
    server.shutdown()
    assert sorted(set(run)) == ["js", "python"], "snippets found: %s" % run
    print("%d snippets ran, each with an answer and with a failure" % len(run))


if __name__ == "__main__":
    main(*sys.argv[1:])
