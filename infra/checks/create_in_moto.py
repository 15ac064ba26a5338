"""Creates the template in moto's CloudFormation and looks at what came out.

moto's CloudFormation knows no HTTP APIs of version 2 and no EventBridge
Scheduler, nor some smaller types: those are left out, their attributes are
stood in for, and the script says so. It cannot resolve a reference to a bus
either (5.2.5). Everything else is created by moto's own models from the
template as it is, and then asked for through the services' APIs.
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

# What CloudFormation would put in the place of an attribute that moto has not.
STAND_INS = {"ApiEndpoint": "https://api.example.com"}


def stand_in(value, left_out, buses):
    """Returns value with references that moto cannot resolve replaced."""
    if isinstance(value, list):
        return [stand_in(element, left_out, buses) for element in value]
    if not isinstance(value, dict):
        return value
    if value.get("Ref") in buses:
        return buses[value["Ref"]]
    if value.get("Ref") in left_out:
        return "left-out-" + value["Ref"]
    attribute = value.get("Fn::GetAtt")
    if isinstance(attribute, list) and attribute[0] in left_out:
        return STAND_INS.get(attribute[1], "arn:aws:left-out:us-east-1:%s:%s" % (DEFAULT_ACCOUNT_ID, attribute[0]))
    return {key: stand_in(element, left_out, buses) for key, element in value.items()}


def reduced(template):
    """Returns the template without what moto cannot create, and what that is."""
    known = set(get_model_map()) - set(NULL_MODELS)
    left_out = {id: r["Type"] for id, r in template["Resources"].items() if r["Type"] not in known}
    buses = {id: r["Properties"]["Name"] for id, r in template["Resources"].items() if r["Type"] == "AWS::Events::EventBus"}
    kept = {}
    for id, resource in template["Resources"].items():
        if id in left_out:
            continue
        resource = stand_in(resource, left_out, buses)
        depends = resource.get("DependsOn", [])
        resource["DependsOn"] = [d for d in ([depends] if isinstance(depends, str) else depends) if d not in left_out]
        kept[id] = resource
    outputs = stand_in(template.get("Outputs", {}), left_out, buses)
    return {**template, "Resources": kept, "Outputs": outputs}, left_out


def upload_assets(folder):
    """Puts each asset where the template says that it is."""
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


def only(found, what):
    assert len(found) == 1, "%d %s" % (len(found), what)
    return found[0]


def look(template, outputs):
    """Asks the services for what should be there."""
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
    dead = sqs.get_queue_attributes(QueueUrl=outputs["RefreshDeadLettersUrl"], AttributeNames=["QueueArn"])
    assert redrive["deadLetterTargetArn"] == dead["Attributes"]["QueueArn"]

    lambdas = boto3.client("lambda")
    functions = {f["FunctionName"]: f for f in lambdas.list_functions()["Functions"]}
    for properties in of("AWS::Lambda::Function"):
        made = functions[properties["FunctionName"]]
        assert made["Runtime"] == "provided.al2023" and made["Handler"] == "bootstrap", made
        variables = made["Environment"]["Variables"]
        assert variables["TABLE_NAME"] == outputs["TableName"], variables
        assert variables["REFRESH_QUEUE_URL"] == outputs["RefreshQueueUrl"], variables
        assert variables["EVENT_BUS_NAME"] == outputs["BusName"], variables
    source = only(lambdas.list_event_source_mappings()["EventSourceMappings"], "event sources")
    assert source["EventSourceArn"] == queue["QueueArn"], source

    iam = boto3.client("iam")
    for role in iam.list_roles()["Roles"]:
        for name in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]:
            document = iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"]
            assert "left-out-" not in json.dumps(document), "%s depends on something that moto left out" % role["RoleName"]

    events = boto3.client("events")
    assert events.describe_event_bus(Name=outputs["BusName"])["Arn"] == outputs["BusArn"]


def main(path):
    folder = pathlib.Path(path).parent
    template, left_out = reduced(json.loads(pathlib.Path(path).read_text()))
    with mock_aws():
        boto3.client("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="21", Type="String")
        upload_assets(folder)
        formation = boto3.client("cloudformation")
        formation.create_stack(StackName="connector", TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_IAM"])
        stack = only(formation.describe_stacks(StackName="connector")["Stacks"], "stacks")
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack["StackStatus"]
        look(template, {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]})
    print("moto created %d resources; it does not know %s" % (len(template["Resources"]), ", ".join(sorted(set(left_out.values())))))


if __name__ == "__main__":
    main(sys.argv[1])
