// SPDX-License-Identifier: MIT
// Makes web/dist/page.json from the catalogue: what the server would otherwise compute at each start.
"use strict";

const fs = require("fs");
const path = require("path");

const here = __dirname;
const goods = JSON.parse(fs.readFileSync(path.join(here, "goods.json"), "utf8"));
const total = goods.reduce((sum, good) => sum + good.cents, 0);

fs.mkdirSync(path.join(here, "dist"), { recursive: true });
fs.writeFileSync(path.join(here, "dist", "page.json"), JSON.stringify({ goods: goods.length, total }) + "\n");
console.log(`built: ${goods.length} goods, ${(total / 100).toFixed(2)} in all`);
