"use strict";

// Untrusted text reaches the page through text nodes and attributes only, never as markup.

const find = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

function drawing(tag, attributes = {}, ...children) {
  return dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null && child !== false));
  return node;
}

// A path below the page's own folder; the leading "./" keeps it from being read as a scheme.
const address = (path) => "./" + path.split("/").map(encodeURIComponent).join("/");
