"""Runs the binaries of the functions against moto, with events that SAM generates.

Usage: functions_on_moto.py FOLDER SAM TEMPLATE

FOLDER contains <function>/bootstrap for this machine. SAM is the SAM CLI. A small
Lambda Runtime API sends the events to the functions. The table is that of the
template. The script checks that each function answers the events of SAM and does
not crash. It imports, reads, lists and deletes one connection, and checks that its
secret is in Secrets Manager and not in the table.
"""

import base64
import http.server
import json
import logging
import os
import pathlib
import queue
import subprocess
import sys
import threading
import urllib.parse

import boto3
from moto.server import ThreadedMotoServer

REGION = "us-east-1"
PREFIX = "platform-api-connector/moto"
SECRET = "test-page-access-token"
KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": REGION}


class Runtime:
    """One running function with its own Runtime API.

    https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
    """

    def __init__(self, binary, environment):
        self.events, self.answers = queue.Queue(), queue.Queue()
        runtime = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                event = runtime.events.get()
                if event is None:
                    self.close_connection = True
                    return
                self.reply(200, event, {
                    "Lambda-Runtime-Aws-Request-Id": "00000000-0000-4000-8000-000000000000",
                    "Lambda-Runtime-Deadline-Ms": "4102444800000",
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:f",
                })

            def do_POST(self):
                body = json.loads(self.body() or b"null")
                self.reply(202, b"{}", {})
                runtime.answers.put((self.path.rsplit("/", 1)[1], body))

            def body(self):
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers["Content-Length"]))
                whole = b""
                while size := int(self.rfile.readline(), 16):
                    whole += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return whole

            def reply(self, status, body, headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.process = subprocess.Popen([str(binary)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={
            **environment, "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:%d" % self.server.server_port, "PATH": os.environ["PATH"],
        })

    def invoke(self, event):
        """Returns ("response", answer) or ("error", failure)."""
        self.events.put(json.dumps(event).encode())
        answer = self.answers.get(timeout=60)
        assert self.process.poll() is None, "the function crashed"
        return answer

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.events.put(None)
        self.server.shutdown()


def generate(sam, *kind):
    out = subprocess.run([sam, "local", "generate-event", *kind], check=True, capture_output=True, text=True,
                         env={**os.environ, "SAM_CLI_TELEMETRY": "0"})
    return json.loads(out.stdout)


def request(sam, method, path, route=None, body=None, query=""):
    """Returns SAM's event of an HTTP API, changed to a route of the connector."""
    event = generate(sam, "apigateway", "http-api-proxy", "--method", method)
    event.update(rawPath=path, rawQueryString=query, routeKey=route or method + " " + path)
    event["queryStringParameters"] = dict(urllib.parse.parse_qsl(query))
    event["pathParameters"] = {}
    if route:
        wanted, given = route.split(" ")[1].split("/"), path.split("/")
        event["pathParameters"] = {w[1:-1]: g for w, g in zip(wanted, given) if w.startswith("{")}
    event["requestContext"].update(routeKey=event["routeKey"])
    event["requestContext"]["http"].update(path=path, method=method)
    event["headers"] = {**event["headers"], "accept": "application/json"}
    if body is not None:
        event["headers"]["content-type"] = "application/json"
        event["body"] = base64.b64encode(json.dumps(body).encode()).decode()
        event["isBase64Encoded"] = True
    else:
        event.pop("body")
        event["isBase64Encoded"] = False
    return event


def prepare(endpoint, template):
    """Creates the table, the queue and the bus. Returns the environment of the functions."""
    resources = json.loads(pathlib.Path(template).read_text())["Resources"].values()
    table = next(r["Properties"] for r in resources if r["Type"] == "AWS::DynamoDB::Table")
    names = ("TableName", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    boto3.client("dynamodb", endpoint_url=endpoint, **KEYS).create_table(**{name: table[name] for name in names})
    url = boto3.client("sqs", endpoint_url=endpoint, **KEYS).create_queue(QueueName="refresh")["QueueUrl"]
    boto3.client("events", endpoint_url=endpoint, **KEYS).create_event_bus(Name="events")
    return {
        "PUBLIC_URL": "https://connect.example.com", "TABLE_NAME": table["TableName"], "SECRET_PREFIX": PREFIX,
        "REFRESH_QUEUE_URL": url, "EVENT_BUS_NAME": "events", "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "ALLOW_FULL_CREDENTIALS": "false",
    }


def succeeded(answer, status=200):
    kind, body = answer
    assert kind == "response" and body["statusCode"] == status, answer
    return json.loads(body["body"]) if body.get("body") else None


def run(invoke, sam, endpoint, table):
    """Sends the events and checks the answers."""
    secrets = boto3.client("secretsmanager", endpoint_url=endpoint, **KEYS)
    items = lambda: boto3.client("dynamodb", endpoint_url=endpoint, **KEYS).scan(TableName=table)["Items"]

    # The unchanged events of SAM have no route of the connector.
    for function in ("oauth-start", "oauth-callback", "connections", "platform-notice", "token-get"):
        kind, body = invoke(function, generate(sam, "apigateway", "http-api-proxy"))
        assert kind == "response" and body["statusCode"] in (400, 404), (function, body)
    kind, body = invoke("refresh", generate(sam, "cloudwatch", "scheduled-event"))
    assert kind == "response", body
    batch = generate(sam, "sqs", "receive-message")
    kind, body = invoke("refresh-worker", batch)
    assert kind == "response" and [f["itemIdentifier"] for f in body["batchItemFailures"]] in ([], [batch["Records"][0]["messageId"]]), body

    # One connection from import to deletion.
    page = {"app_id": "test-app-id", "app_secret": "test-app-secret", "page_id": "200000000000002", "page_access_token": SECRET,
            "ig_user_id": "17841400000000002"}
    imported = succeeded(invoke("connections", request(sam, "POST", "/connections", body={
        "platform": "facebook", "owner": "acme", "account_name": "Example Page", "credentials": page, "verify": False})), 201)
    connection = imported["connections"][0]["id"]
    stored = secrets.get_secret_value(SecretId="%s/connections/%s" % (PREFIX, connection))["SecretString"]
    assert SECRET in stored and SECRET not in json.dumps(items()), "the secret is in the table, or not in Secrets Manager"

    kind, token = invoke("token-get", {"owner": "acme", "platform": "facebook"})
    assert kind == "response" and token["access_token"] == SECRET and token["connection_id"] == connection, (kind, token)
    kind, failure = invoke("token-get", {"connection_id": "00000000-0000-4000-8000-000000000000"})
    assert kind == "error" and failure["errorType"] == "ConnectionNotFound", failure
    batch["Records"][0]["body"] = json.dumps({"connection_id": connection})
    assert invoke("refresh-worker", batch) == ("response", {"batchItemFailures": []})
    listed = succeeded(invoke("connections", request(sam, "GET", "/connections", query="owner=acme")))
    assert [c["id"] for c in listed["connections"]] == [connection], listed
    succeeded(invoke("connections", request(
        sam, "DELETE", "/connections/" + connection, "DELETE /connections/{id}", query="purge=true")), 204)
    left = [s["Name"] for s in secrets.list_secrets()["SecretList"] if "/connections/" in s["Name"]]
    assert left == [], left


def main(folder, sam, template):
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://%s:%d" % server.get_host_and_port()
    environment = prepare(endpoint, template)
    running, count = {}, 0

    def invoke(function, event):
        nonlocal count
        count += 1
        if function not in running:
            running[function] = Runtime(pathlib.Path(folder) / function / "bootstrap", environment)
        return running[function].invoke(event)

    try:
        run(invoke, sam, endpoint, environment["TABLE_NAME"])
    finally:
        for runtime in running.values():
            runtime.stop()
        server.stop()
    print("%d functions answered %d events against moto" % (len(running), count))


if __name__ == "__main__":
    main(*sys.argv[1:])
