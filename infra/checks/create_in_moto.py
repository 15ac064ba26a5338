"""Creates the template in moto's CloudFormation and checks the result.

moto's CloudFormation does not support HTTP APIs of version 2, EventBridge
Scheduler and some smaller types. The script omits these resources, replaces
their attributes, and lists their types. moto (5.2.5) cannot resolve a reference
to a bus either. moto's own models create all other resources from the unchanged
template. The script then reads them through the APIs of the services.
"""

import io
import json
import os
import pathlib
import sys
import zipfile

os.environ.update(
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
    AWS_DEFAULT_REGION="us-east-1",
)

import boto3
from moto import mock_aws
from moto.cloudformation.parsing import NULL_MODELS, get_model_map
from moto.core import DEFAULT_ACCOUNT_ID

# The values of attributes that moto does not have.
REPLACEMENTS = {"ApiEndpoint": "https://api.example.com"}


def replace_references(value, omitted, buses):
    """Returns value with references that moto cannot resolve replaced."""
    if isinstance(value, list):
        return [replace_references(element, omitted, buses) for element in value]
    if not isinstance(value, dict):
        return value
    if value.get("Ref") in buses:
        return buses[value["Ref"]]
    if value.get("Ref") in omitted:
        return "omitted-" + value["Ref"]
    attribute = value.get("Fn::GetAtt")
    if isinstance(attribute, list) and attribute[0] in omitted:
        return REPLACEMENTS.get(attribute[1], "arn:aws:omitted:us-east-1:%s:%s" % (DEFAULT_ACCOUNT_ID, attribute[0]))
    return {key: replace_references(element, omitted, buses) for key, element in value.items()}


def supported(template):
    """Returns the template without the resources that moto cannot create, and these resources."""
    known = set(get_model_map()) - set(NULL_MODELS)
    omitted = {id: r["Type"] for id, r in template["Resources"].items() if r["Type"] not in known}
    buses = {id: r["Properties"]["Name"] for id, r in template["Resources"].items() if r["Type"] == "AWS::Events::EventBus"}
    resources = {}
    for id, resource in template["Resources"].items():
        if id in omitted:
            continue
        resource = replace_references(resource, omitted, buses)
        depends = resource.get("DependsOn", [])
        resource["DependsOn"] = [d for d in ([depends] if isinstance(depends, str) else depends) if d not in omitted]
        resources[id] = resource
    outputs = replace_references(template.get("Outputs", {}), omitted, buses)
    return {**template, "Resources": resources, "Outputs": outputs}, omitted


def upload_assets(folder):
    """Uploads each asset to its bucket in the template."""
    manifest = json.loads(next(folder.glob("*.assets.json")).read_text())
    s3 = boto3.client("s3")
    bucket = "cdk-hnb659fds-assets-%s-us-east-1" % DEFAULT_ACCOUNT_ID
    s3.create_bucket(Bucket=bucket)
    for name, entry in manifest["files"].items():
        if entry["source"]["packaging"] != "zip":
            continue
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
            out.write(folder / entry["source"]["path"] / "bootstrap", "bootstrap")
        s3.put_object(Bucket=bucket, Key=name + ".zip", Body=archive.getvalue())


def only(found, name):
    assert len(found) == 1, "%d %s, want 1" % (len(found), name)
    return found[0]


def check(template, outputs):
    """Compares the resources of the services with the template."""
    wanted = template["Resources"].values()

    def of(kind):
        return [r["Properties"] for r in wanted if r["Type"] == kind]

    dynamodb = boto3.client("dynamodb")
    table = dynamodb.describe_table(TableName=outputs["TableName"])["Table"]
    indexes = {i["IndexName"]: i["KeySchema"] for i in table["GlobalSecondaryIndexes"]}
    assert indexes == {i["IndexName"]: i["KeySchema"] for i in only(of("AWS::DynamoDB::Table"), "tables")["GlobalSecondaryIndexes"]}
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"

    sqs = boto3.client("sqs")
    queue = sqs.get_queue_attributes(QueueUrl=outputs["RefreshQueueUrl"], AttributeNames=["All"])["Attributes"]
    redrive = json.loads(queue["RedrivePolicy"])
    dead_letters = sqs.get_queue_attributes(QueueUrl=outputs["RefreshDeadLettersUrl"], AttributeNames=["QueueArn"])
    assert redrive["deadLetterTargetArn"] == dead_letters["Attributes"]["QueueArn"]

    lambdas = boto3.client("lambda")
    functions = {f["FunctionName"]: f for f in lambdas.list_functions()["Functions"]}
    for properties in of("AWS::Lambda::Function"):
        function = functions[properties["FunctionName"]]
        assert function["Runtime"] == "provided.al2023" and function["Handler"] == "bootstrap", function
        variables = function["Environment"]["Variables"]
        assert variables["TABLE_NAME"] == outputs["TableName"], variables
        assert variables["REFRESH_QUEUE_URL"] == outputs["RefreshQueueUrl"], variables
        assert variables["EVENT_BUS_NAME"] == outputs["BusName"], variables
    source = only(lambdas.list_event_source_mappings()["EventSourceMappings"], "event sources")
    assert source["EventSourceArn"] == queue["QueueArn"], source

    iam = boto3.client("iam")
    for role in iam.list_roles()["Roles"]:
        for name in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]:
            document = iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"]
            assert "omitted-" not in json.dumps(document), "the policy of %s refers to an omitted resource" % role["RoleName"]

    events = boto3.client("events")
    assert events.describe_event_bus(Name=outputs["BusName"])["Arn"] == outputs["BusArn"]


def main(path):
    folder = pathlib.Path(path).parent
    template, omitted = supported(json.loads(pathlib.Path(path).read_text()))
    with mock_aws():
        boto3.client("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="21", Type="String")
        upload_assets(folder)
        formation = boto3.client("cloudformation")
        formation.create_stack(StackName="connector", TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_IAM"])
        stack = only(formation.describe_stacks(StackName="connector")["Stacks"], "stacks")
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack["StackStatus"]
        check(template, {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]})
    print("moto created %d resources; it does not support %s" % (len(template["Resources"]), ", ".join(sorted(set(omitted.values())))))


if __name__ == "__main__":
    main(sys.argv[1])
