"""Drives the gRPC service with Fivetran's own stubs and reports, as JSON, what they understood.

    python fivetran_client.py ADDRESS CONFIGURATION.json-text NAME-OF-THE-SECRET
"""

import json
import sys

import grpc
from fivetran_connector_sdk.protos import common_pb2, connector_sdk_pb2, connector_sdk_pb2_grpc


def update(stub, configuration, state="{}", selection=None):
    """One stream: what came of it, as a Fivetran-like destination would keep it."""
    request = connector_sdk_pb2.UpdateRequest(configuration=configuration, state_json=state, selection=selection)
    out = {"rows": 0, "tables": {}, "truncated": [], "largest_batch": 0, "state": None, "warnings": [], "task": None}
    rows, types = {}, {}
    for response in stub.Update(request):
        kind = response.WhichOneof("operation")
        if kind == "checkpoint":
            out["state"] = response.checkpoint.state_json
        elif kind == "warning":
            out["warnings"].append(response.warning.message)
        elif kind == "task":
            out["task"] = response.task.message
        elif kind == "schema_change":
            for table in response.schema_change.without_schema.tables:
                types[table.name] = {c.name: (common_pb2.DataType.Name(c.type), c.primary_key) for c in table.columns}
        elif kind in ("record", "records"):
            records = [response.record] if kind == "record" else list(response.records.records)
            out["largest_batch"] = max(out["largest_batch"], len(records))
            for record in records:
                take(record, out, rows, types)
        else:
            raise SystemExit(f"unknown operation {kind}")
    for table, found in rows.items():
        key = [name for name, (_, is_key) in types.get(table, {}).items() if is_key]
        out["tables"][table] = {"rows": len(found), "key": key}
    return out


MEMBERS = {
    "BOOLEAN": "bool", "LONG": "long", "DOUBLE": "double", "DECIMAL": "decimal", "NAIVE_DATE": "naive_date",
    "UTC_DATETIME": "utc_datetime", "STRING": "string", "JSON": "json",
}


def take(record, out, rows, types):
    """Keeps a record; each value must be of its column's type."""
    table = record.table_name
    if record.type == common_pb2.RecordType.TRUNCATE:
        out["truncated"].append(table)
        rows.pop(table, None)
        return
    columns = types.get(table, {})
    for name, value in record.data.items():
        member = value.WhichOneof("inner")
        if member != "null" and columns and member != MEMBERS[columns[name][0]]:
            raise SystemExit(f"{table}.{name} is {columns[name][0]} and came as {member}")
    key = tuple(str(record.data[name]) for name, (_, is_key) in sorted(columns.items()) if is_key)
    if record.type == common_pb2.RecordType.DELETE:
        rows.get(table, {}).pop(key, None)
    else:
        out["rows"] += 1
        rows.setdefault(table, {})[key] = record


def main(address, configuration, secret):
    with grpc.insecure_channel(address) as channel:
        stub = connector_sdk_pb2_grpc.SourceConnectorStub(channel)
        form = stub.ConfigurationForm(common_pb2.ConfigurationFormRequest())
        fields = [[f.name, common_pb2.TextField.Name(f.text_field), f.required] for f in form.fields]
        name = form.tests[0].name
        test = stub.Test(common_pb2.TestRequest(name=name, configuration=configuration))
        wrong = dict(configuration, **{secret: "fake-wrong-key"})
        refused = stub.Test(common_pb2.TestRequest(name=name, configuration=wrong))
        schema = stub.Schema(connector_sdk_pb2.SchemaRequest(configuration=configuration))
        declared = {table.name: [[c.name, common_pb2.DataType.Name(c.type), c.primary_key] for c in table.columns]
                    for table in schema.without_schema.tables}
        some = next(iter(declared))
        first = update(stub, configuration)
        second = update(stub, configuration, first["state"])
        only = connector_sdk_pb2 if hasattr(connector_sdk_pb2, "Selection") else common_pb2
        selection = only.Selection(without_schema=only.TablesWithNoSchema(
            tables=[only.TableSelection(included=True, table_name=some)]))
        selected = update(stub, configuration, selection=selection)
        refused_sync = update(stub, wrong)
    report = {
        "fields": fields, "test": test.WhichOneof("response"), "wrong_key": refused.failure, "declared": declared,
        "tables": first["tables"], "first": first, "second": second,
        "selected": [some, sorted(selected["tables"])], "task": refused_sync["task"],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3])
