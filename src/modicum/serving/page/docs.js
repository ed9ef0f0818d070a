"use strict";
// Shows openapi.json: paths, parameters, answers, and the fields of each.

function make(tag, attributes = {}, ...children) {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  if (schema.type === "object" && schema.additionalProperties) return `values by name: ${typeOf(schema.additionalProperties)}`;
  return schema.format ? `${schema.type} (${schema.format})` : schema.type || "anything";
}

function table(head, rows) {
  const line = (cells, tag) => make("tr", {}, ...cells.map((cell) => make(tag, { textContent: cell ?? "" })));
  return make("div", { className: "scroll" }, make("table", {}, make("thead", {}, line(head, "th")),
    make("tbody", {}, ...rows.map((row) => line(row, "td")))));
}

function operation(path, method, facts) {
  const section = make("section", { className: "panel" }, make("h2", { textContent: `${method.toUpperCase()} ${path}` }),
    make("p", { textContent: facts.description || facts.summary || "" }));
  const given = (facts.parameters || []).map((one) => [one.name, one.in, typeOf(one.schema),
    one.required ? "required" : `default ${JSON.stringify(one.schema.default)}`, one.description]);
  for (const [kind, content] of Object.entries(facts.requestBody?.content || {})) {
    for (const [name, schema] of Object.entries(content.schema.properties || {})) {
      given.push([name, kind, typeOf(schema), "required", schema.description]);
    }
  }
  if (given.length) section.append(make("h3", { textContent: "Takes" }), table(["name", "in", "type", "", ""], given));
  const answers = Object.entries(facts.responses || {}).map(([status, answer]) => [status,
    Object.values(answer.content || {}).map((one) => typeOf(one.schema)).join(", "), answer.description]);
  section.append(make("h3", { textContent: "Answers" }), table(["status", "type", ""], answers));
  if (method === "post") {
    section.append(make("pre", { textContent: `curl -F files=@image.png ${location.origin}${path.replace("{name}", "NAME")}` }));
  }
  return section;
}

async function start() {
  const api = await (await fetch("openapi.json")).json();
  document.getElementById("title").textContent = `${api.info.title} ${api.info.version}`;
  document.getElementById("words").textContent = api.info.description;
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, facts]) => operation(path, method, facts)));
  const types = Object.entries(api.components?.schemas || {}).map(([name, schema]) => make("section", { className: "panel" },
    make("h2", { textContent: name }), make("p", { textContent: schema.description || "" }),
    table(["field", "type", ""], Object.entries(schema.properties || {}).map(([field, one]) => [field, typeOf(one), one.description]))));
  document.getElementById("main").replaceChildren(...operations, ...types);
}

start();
