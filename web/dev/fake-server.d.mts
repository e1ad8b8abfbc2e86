export const ADMIN_TOKEN: string;
export function serve(port?: number): Promise<{ url: string; stop: () => Promise<void> }>;
