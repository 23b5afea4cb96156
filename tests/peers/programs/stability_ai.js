// Calls what the npm package stability-ai knows of the API, at the URL given, and prints what it
// returned: one line of JSON for each call. Arguments: URL, the package's folder, an image, a mask.
const fs = require("fs");
const [url, home, image, mask] = process.argv.slice(2);

// The base URL is a constant of the package; this is all that is changed.
require(`${home}/dist/util`).makeUrl = (version, resource, endpoint) =>
  `${url}/${version}/${resource}${endpoint ? `/${endpoint}` : ""}`;
const StabilityAI = require(home).default;

const client = new StabilityAI("sk-any");
const { generate, upscale, edit, control, results } = client.v2beta.stableImage;
const { user, engines, generation } = client.v1;
const sdxl = "stable-diffusion-xl-1024-v1-0";

async function fetched(fetch) {
  for (;;) {
    const result = await fetch();
    if (result.status !== "in-progress") return result;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const calls = {
  "generate.ultra": () => generate.ultra("a fox", { seed: 5, aspectRatio: "16:9" }),
  "generate.core": () => generate.core("a fox", { negativePrompt: "fog", outputFormat: "webp" }),
  "generate.sd3": () => generate.sd3("a fox", { model: "sd3-large", seed: 5 }),
  "generate.sd3 of an image": () =>
    generate.sd3("a fox", { mode: "image-to-image", image, strength: 0.5 }),
  "upscale.conservative": () => upscale.conservative(image, "a fox", { creativity: 0.4 }),
  "upscale.creative": async () => {
    const started = await upscale.startCreative(image, "a fox", { creativity: 0.3 });
    return fetched(() => upscale.fetchCreativeResult(started.id, started.outputFormat));
  },
  "edit.erase": () => edit.erase(image, { mask, seed: 5 }),
  "edit.inpaint": () => edit.inpaint(image, "a hen", { mask }),
  "edit.outpaint": () => edit.outpaint(image, { left: 20, down: 5, prompt: "sea" }),
  "edit.searchAndReplace": () => edit.searchAndReplace(image, "a hen", "a fox"),
  "edit.removeBackground": () => edit.removeBackground(image, { outputFormat: "webp" }),
  "edit.replaceBackgroundAndRelight": async () => {
    const options = { backgroundPrompt: "sea", lightSourceDirection: "left" };
    const { id } = await edit.replaceBackgroundAndRelight(image, options);
    return fetched(() => results.fetchAsyncGenerationResult(id));
  },
  "control.sketch": () => control.sketch(image, "a fox", { controlStrength: 0.5 }),
  "control.structure": () => control.structure(image, "a fox"),
  "control.style": () => control.style(image, "a fox", { fidelity: 0.5, aspectRatio: "1:1" }),
  "v1 account": () => user.account(),
  "v1 balance": () => user.balance(),
  "v1 engines": () => engines.list(),
  "v1 text to image": () => generation.textToImage(sdxl, [{ text: "a fox", weight: 0.5 }]),
};

(async () => {
  for (const [name, call] of Object.entries(calls)) {
    let told;
    try {
      const result = await call();
      told = { name, result };
      for (const { filepath } of [result].flat()) {
        if (!filepath) continue;
        told.size = fs.statSync(filepath).size;
        fs.unlinkSync(filepath);
      }
    } catch (error) {
      told = { name, error: `${error}` };
    }
    console.log(JSON.stringify(told));
  }
})();
