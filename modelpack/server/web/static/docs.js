// Shows /openapi.json with Swagger UI; nothing is fetched from anywhere else.
//
// The contracts of other servers have many paths: they are folded until somebody wants them.
const page = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  docExpansion: "none",
  tryItOutEnabled: true,
  validatorUrl: null,
  onComplete: () => ["apis", "health"].forEach((tag) => page.layoutActions.show(["operations-tag", tag], true)),
});
