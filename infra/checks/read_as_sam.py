"""Reads the template as `sam local` does, but without Docker.

It uses the code of the SAM CLI (1.170.0). It checks the functions that
`sam local invoke` would find and the paths of their code, and the routes that
`sam local start-api` would serve. `sam validate` checks neither.
"""

import json
import pathlib
import stat
import sys

from samcli.lib.providers.api_provider import ApiProvider
from samcli.lib.providers.sam_function_provider import SamFunctionProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider


def check_functions(stacks, wanted):
    found = {}
    for function in SamFunctionProvider(stacks, use_raw_codeuri=False).get_all():
        bootstrap = pathlib.Path(function.codeuri) / "bootstrap"
        assert bootstrap.is_file(), "%s: %s does not exist" % (function.name, bootstrap)
        assert bootstrap.stat().st_mode & stat.S_IXUSR, "%s is not executable" % bootstrap
        assert function.runtime == "provided.al2023" and function.handler == "bootstrap", function
        assert function.architectures == ["arm64"], function.architectures
        found[function.functionname] = sorted(function.environment["Variables"])
    assert found == wanted, "functions: SAM finds %s, the template has %s" % (found, wanted)
    return len(found)


def check_routes(stacks, wanted):
    found = set()
    for route in ApiProvider(stacks).api.routes:
        assert route.payload_format_version == "2.0", route.path
        found.update((method, route.path, route.function_name) for method in route.methods)
    assert found == wanted, "routes: only SAM has %s, only the template has %s" % (found - wanted, wanted - found)
    return len(found)


def main(path):
    path = pathlib.Path(path)
    resources = json.loads(path.read_text())["Resources"]
    stacks, _ = SamLocalStackProvider.get_stacks(str(path))

    functions, routes = {}, set()
    for id, resource in resources.items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Lambda::Function":
            functions[properties["FunctionName"]] = sorted(properties["Environment"]["Variables"])
        if resource["Type"] == "AWS::ApiGatewayV2::Route":
            integration = resources[properties["Target"]["Fn::Join"][1][1]["Ref"]]["Properties"]
            method, route = properties["RouteKey"].split(" ")
            function = resources[integration["IntegrationUri"]["Fn::GetAtt"][0]]
            routes.add((method, route, function["Properties"]["FunctionName"]))

    found = check_functions(stacks, functions)
    served = check_routes(stacks, routes)
    print("sam local would find %d functions with their code, and serve %d routes" % (found, served))


if __name__ == "__main__":
    main(sys.argv[1])
