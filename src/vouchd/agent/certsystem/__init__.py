"""The Certificate System's endpoints: publishing, its servlets and their XML, its domain calls."""
